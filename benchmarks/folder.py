"""Seconds until a folder of mixed image files can be trained on.

Makes a folder of files once (JPEG, PNG, WebP, GIF, BMP of many sizes, one in 500
broken), then opens it in new processes: without an index, with the index of the first
start, and after a tenth of the files changed. Run::

    python -m benchmarks.folder [--files 50000] [--folder /tmp/photos]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

KINDS = ("jpg", "jpg", "jpg", "jpg", "png", "png", "webp", "gif", "bmp")
BROKEN_EVERY = 500
CHILD = """
import sys, time, json, resource
started = time.perf_counter()
from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening
imported = time.perf_counter()
data = DataConfig(image_dir=sys.argv[1], data_dir=sys.argv[2], check_files=sys.argv[3])
split = opening.open_split(data, "train")
opened = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps([imported - started, opened - imported, split.num_examples, peak]))
"""


def make(folder: Path, count: int) -> None:
    """Write ``count`` files of 40 to 160 pixels a side, in folders of 1,000."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i // 1000:03}" / f"{i:06}.{KINDS[i % len(KINDS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % BROKEN_EVERY == BROKEN_EVERY - 1:
            path.write_bytes(b"<html>not here any more</html>")
            continue
        height, width = random.integers(40, 160, 2)
        coarse = random.integers(0, 255, [4, 5, 3], np.uint8)
        image = Image.fromarray(coarse).resize((int(width), int(height)))
        stream = io.BytesIO()
        image.save(stream, {"jpg": "jpeg"}.get(path.suffix[1:], path.suffix[1:]))
        path.write_bytes(stream.getvalue())


def start(folder: Path, index: Path, check: str) -> list[float]:
    """Measure import and opening in s, images and peak MiB, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(index), check],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Make the folder, start four times, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="kept, and used again if it exists")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.folder or Path(place) / "photos"
        if not folder.exists():
            make(folder, given.files)
        print(f"{'start':34} import s   opening s   images   peak MiB")
        for name, check in (("first, by headers", "header"), ("first", "decode")):
            index = Path(place) / check
            show(name, start(folder, index, check))
        show("second", start(folder, index, "decode"))
        touched = sorted(folder.rglob("*.*"))[::10]
        for path in touched:
            os.utime(path, (time.time(), time.time()))
        show("a tenth of the files touched", start(folder, index, "decode"))


def show(name: str, found: list[float]) -> None:
    """Print one line of the table."""
    imported, opened, images, peak = found
    words = f"{imported:8.1f} {opened:11.1f} {images:8.0f} {peak:10.0f}"
    print(f"{name:34} {words}", flush=True)


if __name__ == "__main__":
    main()
