"""Curves of a healthy run and of known failures: the pictures of docs/curves.md.

Each case is a real run of the program, 200 steps of a tiny network on the embedded
images (with two data sets made of them), well below a minute of CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

from simclr_tf2 import config as config_lib
from simclr_tf2 import startup
from simclr_tf2.errors import NotFinite

BASE = {
    "mode": "pretrain",
    "dataset": "simclr_shapes/tiny",
    "train_split": "unlabeled",
    "probe_split": "train",
    "image_size": 32,
    "resnet_depth": 10,
    "width_multiplier": 0.25,
    "stem": "stride2",
    "num_proj_layers": 2,
    "proj_out_dim": 32,
    "train_batch_size": 64,
    "train_steps": 200,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "learning_rate_scaling": "none",
    "warmup_epochs": 1.0,
    "temperature": 0.2,
    "color_jitter_strength": 0.5,
    "use_blur": False,
    "log_steps": 5,
    "checkpoint_steps": 200,
    "monitor_epochs": 0.8,
    "valid_size": 0.05,
    "protocols": ("label_free",),
    "export_formats": (),
    "report": False,
    "progress": "none",
}
# Name -> what differs from a healthy run. "one image" and "labels" are arrays.
CASES: dict[str, dict[str, Any]] = {
    "healthy": {},
    "rate too high": {"learning_rate": 1.0},
    "rate far too high, LARS": {"optimizer": "lars", "learning_rate": 300.0},
    "rate too low": {"learning_rate": 1e-7},
    "temperature too high": {"temperature": 100.0},
    "temperature too low, no head": {
        "temperature": 1e-5,
        "learning_rate": 0.3,
        "proj_head_mode": "none",
    },
    "one image in the batch": {"dataset": "one_image.npz"},
    "augmentation off": {"color_jitter_strength": 0.0},
    "labels as images": {"dataset": "labels.npz"},
}
TALLEST = 10.0  # loss that is still drawn; chance is 4.844
SHOWN = {
    "healthy": "healthy",
    "rate too low": "stuck",
    "rate too high": "collapsed",
    "temperature too low, no head": "collapsed_fully",
}


def write_arrays(folder: Path, data_dir: str) -> None:
    """Write 1,000 copies of one image, and 1,000 images of which ten differ."""
    from simclr_tf2.data import datasets

    images, labels = datasets.open_split(
        BASE["dataset"], "train", data_dir=data_dir
    ).arrays()
    assert labels is not None
    np.savez(folder / "one_image.npz", images=np.repeat(images[:1], 1000, axis=0))
    colours = np.random.default_rng(0).integers(0, 256, [10, 1, 1, 3], np.uint8)
    flat = np.broadcast_to(colours, [10, *images.shape[1:]])
    np.savez(folder / "labels.npz", images=np.tile(flat, [100, 1, 1, 1]))


def run(name: str, folder: Path, data_dir: str) -> list[dict[str, float]]:
    """Train one case and return the lines of its metrics.jsonl."""
    from simclr_tf2 import workflows

    flat = {**BASE, **CASES[name]}
    if flat["dataset"].endswith(".npz"):
        flat["dataset"] = str(folder / flat["dataset"])
        flat |= {"train_split": "train", "probe_split": ""}
    model_dir = folder / name.replace(" ", "_")
    flat |= {"data_dir": data_dir, "model_dir": str(model_dir)}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            workflows.run(config_lib.from_flat(flat))
    except NotFinite as error:  # a finding too
        print(f"{name}: {error}", flush=True)
    text = (model_dir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def last(lines: list[dict[str, float]], key: str) -> float:
    """Return the last value of a scalar, NaN where it was never logged."""
    values = [line[key] for line in lines if key in line]
    return values[-1] if values else float("nan")


def _hides(key: str, value: float) -> bool:
    """Return whether a value would press the rest of its curve onto the axis."""
    return "loss" in key and value > TALLEST


def draw(found: dict[str, list[dict[str, float]]], out: Path) -> None:
    """Draw one small picture for each case that docs/curves.md shows."""
    import math

    from simclr_tf2 import plots

    chance = math.log(2 * BASE["train_batch_size"] - 1)
    for name in found:
        word = SHOWN[name]
        wanted = ("step", "loss", "valid_loss", "contrastive_accuracy", "std_z")
        lines = [
            {k: v for k, v in line.items() if k in wanted and not _hides(k, v)}
            for line in found[name]
        ]
        path = out / f"curves_{word}.png"
        path.write_bytes(plots.to_png(plots.curves(lines, chance_loss=chance), dpi=60))
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB", flush=True)


def main() -> None:
    """Run every case, print a table of signs and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--keep", type=Path, help="folder for the runs; a new one")
    parser.add_argument("--only", choices=[*CASES], nargs="+", default=[*CASES])
    arguments = parser.parse_args()
    startup.check_environment()
    startup.start_tensorflow()
    keys = (
        "loss",
        "valid_loss",
        "contrastive_accuracy",
        "contrastive_entropy",
        "std_z",
        "rankme",
        "alignment",
        "uniformity",
        "knn_top1_k20",
    )
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        write_arrays(place, arguments.data_dir)
        print(f"{'':30}" + "".join(f"{key[:12]:>14}" for key in keys), flush=True)
        for name in arguments.only:
            lines = found[name] = run(name, place, arguments.data_dir)
            values = "".join(f"{last(lines, key):14.3f}" for key in keys)
            print(f"{name:30}{values}", flush=True)
    draw({name: found[name] for name in found if name in SHOWN}, arguments.out)


if __name__ == "__main__":
    main()
