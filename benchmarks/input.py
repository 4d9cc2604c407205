"""Source images per CPU-second of the whole pretraining input, beside albumentations.

Two views of each image with every operation: random resized crop, flip, colour jitter,
colour drop and, in the rows that say so, blur. 32 and 96 px start from pixels in
memory, 224 px from JPEG files of 500 x 375 on disk, decoded once for both views. CPU
time is that of the whole process, all threads, so that other work on the machine
matters little; cases take turns, and the median of the rounds is printed.

"crops alone" is what the host does with ``--augment_on=device``; the rest of a view
costs the device that trains ``python -m benchmarks.on_device``.

albumentations (8-bit, OpenCV) draws from similar, not the same, distributions. It is
measured if it is installed: ``pip install albumentations==2.0.8``. Run::

    python -m benchmarks.input [--rounds 5] [--sizes 32 96 224]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import tensorflow as tf

from benchmarks.augment import photo, wait_until_idle
from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening, pipeline
from simclr_tf2.data.array_files import from_arrays
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.views import ViewSpec

IMAGES = 64
BATCH = 32
PER_ROUND = {32: 4096, 96: 1536, 224: 256}  # source images
PHOTO = (375, 500)  # about the median of ImageNet


def open_split(size: int, folder: str) -> Split:
    """Open photos of that size in memory, or JPEG files for 224 px."""
    if size < 200:
        return from_arrays(np.stack([photo(size, size, i) for i in range(IMAGES)]))
    for i in range(IMAGES):
        data = tf.io.encode_jpeg(photo(*PHOTO, i), quality=90).numpy()
        with open(f"{folder}/{i}.jpg", "wb") as file:
            file.write(data)
    return opening.open_split(DataConfig(image_dir=folder, data_dir=folder), "train")


def ours(
    split: Split,
    size: int,
    blur: bool,
    *,
    backend: str = "tf",
    on_device: bool = False,
) -> Callable[[int], None]:
    """Return a function that draws batches from the pipeline."""
    views = ViewSpec(
        image_size=size,
        strength=1.0,
        use_blur=blur,
        backend=backend,
        on_device=on_device,
    )
    batches = iter(
        pipeline.make_pretrain_dataset(
            split,
            pipeline.plan_batches(split, BATCH),
            views,
            seed=0,
            cache="auto" if size < 200 else "off",
        )
    )

    def run(count: int) -> None:
        for _ in range(count // BATCH):
            next(batches)

    return run


def albumentations_of(split: Split, size: int, blur: bool) -> Callable[[int], None]:
    """Return a function that does the same with albumentations, in one thread."""
    import albumentations as album
    import cv2

    cv2.setNumThreads(0)
    odd = 2 * (size // 20) + 1
    steps = [
        album.RandomResizedCrop((size, size), (0.08, 1.0), interpolation=2),
        album.HorizontalFlip(p=0.5),
        album.ColorJitter((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2), p=0.8),
        album.ToGray(p=0.2),
    ]
    if blur:
        steps.append(album.GaussianBlur((odd, odd), (0.1, 2.0), p=0.5))
    views = album.Compose(steps)
    stored = [e["image"] for e in split.as_dataset().as_numpy_iterator()]

    def image(number: int) -> np.ndarray:
        found = stored[number % IMAGES]
        if isinstance(found, np.ndarray):
            return found
        return cv2.imdecode(np.frombuffer(found, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def run(count: int) -> None:
        for first in range(0, count, BATCH):
            batch = np.empty([2, BATCH, size, size, 3], np.float32)
            for i in range(BATCH):
                source = np.ascontiguousarray(image(first + i))
                for view in range(2):
                    batch[view, i] = views(image=source)["image"]
            batch /= 255.0

    return run


def measure(cases: dict, rounds: int) -> dict:
    """Measure source images per CPU-second of each case in each round."""
    found: dict = {case: [] for case in cases}
    for (size, _), run in cases.items():
        run(PER_ROUND[size] // 2)  # buffers, threads, caches
    wait_until_idle()
    for _ in range(rounds):
        for case, run in cases.items():
            start = time.process_time()
            run(PER_ROUND[case[0]])
            wait_until_idle()
            found[case].append(PER_ROUND[case[0]] / (time.process_time() - start))
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(PER_ROUND))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases: dict[tuple[int, str], Callable[[int], None]] = {}
        for size in given.sizes:
            split = open_split(size, folder)
            for blur in (False, True):
                words = "with blur" if blur else "no blur"
                run = ours(split, size, blur, backend="numba")
                cases[size, f"ours, {words}"] = run
                cases[size, f"ours on TensorFlow, {words}"] = ours(split, size, blur)
                if find_spec("albumentations"):
                    run = albumentations_of(split, size, blur)
                    cases[size, f"albumentations, {words}"] = run
            for backend, words in (("numba", "ours"), ("tf", "ours on TensorFlow")):
                run = ours(split, size, False, backend=backend, on_device=True)
                cases[size, f"{words}, crops alone"] = run
        rates = measure(cases, given.rounds)
    print("pixels  input                           source images per CPU-second")
    for (size, name), values in rates.items():
        low, median, high = min(values), statistics.median(values), max(values)
        print(f"{size:6}  {name:30}  {median:7,.0f} ({low:,.0f} - {high:,.0f})")


if __name__ == "__main__":
    main()
