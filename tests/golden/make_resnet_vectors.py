"""Reduce the full reference outputs of four ResNets to what the tests compare.

The full files come from running the reference code (google-research/simclr, tf2,
commit 383d414), unmodified, on TensorFlow 2.15.1. They hold whole feature maps; here
each map is kept as its mean over space [n, c] and its mean over channels [n, h, w].
Weights and inputs are regenerated from a seed (see tests/support/reference_vectors.py).

    python tests/golden/make_resnet_vectors.py FOLDER_WITH_FULL_FILES
"""

import argparse
import gzip
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
SCALARS = ("seed", "depth", "width", "sk_ratio", "se_ratio", "image_size")
KEPT = (
    *SCALARS,
    "weight_names",
    "weight_l2",
    "moving_names",
    "moving_after_one_train_call",
    "grad_names",
    "grad_probe",
    "grad_loss",
    "grad_l2",
    "grad_sum",
    "grad_first_kernel",
    "sens_grad_l2_rel",
)


def reduce_file(source: pathlib.Path) -> dict[str, np.ndarray]:
    full = np.load(source)
    reduced = {name: full[name] for name in KEPT}
    reduced["input_shape"] = np.asarray(full["input"].shape)
    regenerated = np.random.default_rng([int(full["seed"]), 10**6])
    regenerated = regenerated.random(full["input"].shape).astype(np.float32)
    assert np.array_equal(regenerated, full["input"]), source
    for name in full.files:
        if not name.startswith(("infer_", "train_")):
            continue
        value = full[name]
        reduced[f"sens_{name}"] = full[f"sens_{name}"]
        if value.ndim == 4:
            reduced[f"{name}:space"] = value.mean((1, 2), dtype=np.float64)
            reduced[f"{name}:channels"] = value.mean(3, dtype=np.float64)
        else:
            reduced[name] = value
    return {
        name: value.astype(np.float32) if value.dtype == np.float64 else value
        for name, value in reduced.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    for source in sorted(folder.glob("resnet_*.npz")):
        np.savez_compressed(HERE / source.name, **reduce_file(source))
    text = (folder / "resnet_variables.json").read_bytes()
    packed = gzip.compress(text, mtime=0)
    (HERE / "resnet_variables.json.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
