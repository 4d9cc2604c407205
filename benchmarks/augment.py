"""Source images per CPU-second of ``two_views`` inside a tf.data map.

One row per size: 32 and 96 px from uint8 images of that size held in memory, 224 px
from a 500x375 JPEG that is decoded once for both views. CPU time is that of the whole
process. Sizes take turns, so that a busy machine disturbs all alike; the median of the
rounds is printed. Run: ``python -m benchmarks.augment [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from simclr_tf2 import augmentations  # noqa: E402

COUNTS = {32: 4000, 96: 2000, 224: 300}  # source images per round


def photo(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth colours with a little grain, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (height, width), method="bicubic")[0].numpy()
    image += random.normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_dataset(image_size: int, *, use_blur: bool) -> tf.data.Dataset:
    """Endless pairs of views of 16 images."""
    if image_size > 100:
        photos = [photo(375, 500, i) for i in range(16)]
        source = tf.constant([tf.io.encode_jpeg(p, quality=90).numpy() for p in photos])
    else:
        source = tf.constant(
            np.stack([photo(image_size, image_size, i) for i in range(16)])
        )

    def views(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = source[index % 16]
        if image.dtype == tf.string:
            image = tf.io.decode_jpeg(image, channels=3)
        seed = tf.stack([0, tf.cast(index, tf.int32)])
        return augmentations.two_views(
            image, seed=seed, image_size=image_size, use_blur=use_blur
        )

    return tf.data.Dataset.counter().map(views, num_parallel_calls=1)


def images_per_cpu_second(iterator, count: int) -> float:
    """Draw ``count`` elements and divide by the CPU time of the process."""
    start = time.process_time()
    for _ in range(count):
        next(iterator)
    return count / (time.process_time() - start)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-blur", action="store_true")
    arguments = parser.parse_args()
    iterators = {}
    for size, count in COUNTS.items():
        dataset = make_dataset(size, use_blur=not arguments.no_blur)
        iterators[size] = iter(dataset.batch(20))
        images_per_cpu_second(iterators[size], 5)
    rates: dict[int, list[float]] = {size: [] for size in COUNTS}
    for _ in range(arguments.rounds):
        for size, count in COUNTS.items():
            batches = count // 20
            rates[size].append(20 * images_per_cpu_second(iterators[size], batches))
    print("pixels  source images per CPU-second: median (lowest - highest)")
    for size, values in rates.items():
        low, high = min(values), max(values)
        print(f"{size:6}  {statistics.median(values):,.0f} ({low:,.0f} - {high:,.0f})")


if __name__ == "__main__":
    main()
