"""Pack a run of the reference code into what the tests compare.

The run is google-research/simclr, tf2, commit 383d414, on TensorFlow 2.15.1: 8 steps of
pretraining, batch 32, ResNet-18 of width 0.25 on Fashion-MNIST as 32x32 RGB, with LARS.
``files.tar.xz`` holds its last checkpoint and the variables folder of its SavedModel as
they were written, except that the optimizer's momentum is set to zero bytes (half of
the size; the tests never read it). ``outputs.npz`` holds what the SavedModel returned;
each feature map is kept as its mean over space [n, c] and over channels [n, h, w].
``lists.json.gz`` holds the trainable variables of the SavedModel in order, and names
and shapes in a checkpoint of a ResNet-18 of width 1.

    python tests/golden/make_reference_run.py FOLDER_OF_THE_RUN
"""

import argparse
import gzip
import io
import json
import lzma
import pathlib
import tarfile
import tempfile

import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).parent / "reference_run"
DATA = "ckpt-8.data-00000-of-00001"
VARIABLES = "saved_model/8/variables"


def without_momentum(run: pathlib.Path) -> bytes:
    """The checkpoint's data file with every optimizer slot zeroed."""
    reader = tf.train.load_checkpoint(str(run / "ckpt-8"))
    data = (run / DATA).read_bytes()
    for key in reader.get_variable_to_shape_map():
        if ".OPTIMIZER_SLOT" in key:
            value = reader.get_tensor(key).tobytes()
            data = data.replace(value, bytes(len(value)))
    return data


def check_values(stored) -> None:
    """The packed checkpoint still holds every other value of the original."""
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(HERE / "files.tar.xz") as archive:
            archive.extractall(unpacked, filter="data")
        reader = tf.train.load_checkpoint(f"{unpacked}/ckpt-8")
        for name in stored.files:
            value = reader.get_tensor(name.replace("|", "/"))
            np.testing.assert_array_equal(value, stored[name])


def pack_files(run: pathlib.Path) -> bytes:
    files = {
        DATA: without_momentum(run),
        "ckpt-8.index": (run / "ckpt-8.index").read_bytes(),
    }
    for path in sorted((run / VARIABLES).iterdir()):
        files[f"{VARIABLES}/{path.name}"] = path.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def reduce_outputs(full) -> dict[str, np.ndarray]:
    reduced = {"input": full["input"]}
    for name in full.files:
        value = full[name]
        if name != "input" and value.ndim == 4:
            reduced[f"{name}:space"] = value.mean((1, 2), dtype=np.float64)
            reduced[f"{name}:channels"] = value.mean(3, dtype=np.float64)
        else:
            reduced[name] = value
    return {name: value.astype(np.float32) for name, value in reduced.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    HERE.mkdir(exist_ok=True)
    (HERE / "files.tar.xz").write_bytes(pack_files(folder / "narrow_pre"))
    check_values(np.load(folder / "narrow_pre_checkpoint_values.npz"))
    outputs = np.load(folder / "narrow_pre_saved_model_outputs.npz")
    np.savez_compressed(HERE / "outputs.npz", **reduce_outputs(outputs))
    info = json.loads((folder / "narrow_pre_saved_model_info.json").read_text())
    wide = json.loads((folder / "full_width18_checkpoint_variables.json").read_text())
    text = json.dumps(
        {
            "trainable_variables": info["trainable_variables_list"],
            "full_width18": wide,
        }
    )
    (HERE / "lists.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
