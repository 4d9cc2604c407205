"""Source images per CPU-second of ``two_views`` inside a tf.data map.

One row per size: 32 to 96 px from uint8 images of that size held in memory, 224 px
from a 500x375 JPEG that is decoded once for both views. CPU time is that of the whole
process; the decoding alone is shown beside it, as a measure of the machine. Cases take
turns, so that a busy machine disturbs all alike; the median of the rounds is printed.
Run: ``python -m benchmarks.augment [--rounds 5] [--sizes 32 96]``.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations

BATCH = 20
COUNTS = {32: 4000, 64: 2000, 96: 2000, 224: 300}  # source images per round


def photo(height: int, width: int, seed: int) -> np.ndarray:
    """Draw smooth colours with a little grain, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (height, width), method="bicubic")[0].numpy()
    image += random.normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_dataset(image_size: int, *, views: str) -> tf.data.Dataset:
    """Make endless batches of view pairs, "blur", "no blur" or "none", of 16 images."""
    if image_size > 100:
        photos = [photo(375, 500, i) for i in range(16)]
        source = tf.constant([tf.io.encode_jpeg(p, quality=90).numpy() for p in photos])
    else:
        source = tf.constant(
            np.stack([photo(image_size, image_size, i) for i in range(16)])
        )

    def make(index: tf.Tensor):
        image = source[index % 16]
        if image.dtype == tf.string:
            image = tf.io.decode_jpeg(image, channels=3)
        if views == "none":
            return image
        seed = tf.stack([0, tf.cast(index, tf.int32)])
        return augmentations.two_views(
            image, seed=seed, image_size=image_size, use_blur=views == "blur"
        )

    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    dataset = tf.data.Dataset.counter().map(make, num_parallel_calls=1)
    return dataset.batch(BATCH).with_options(options)


def wait_until_idle() -> None:
    """Sleep until threads that work ahead have filled their buffers."""
    used = -1.0
    while time.process_time() - used > 2e-3:
        used = time.process_time()
        time.sleep(0.1)


def images_per_cpu_second(iterator, batches: int) -> float:
    """Draw batches and divide by the CPU time of the process.

    The time lasts until the buffers are full again, so that the work of exactly as many
    batches falls in it.
    """
    start = time.process_time()
    for _ in range(batches):
        next(iterator)
    wait_until_idle()
    return batches * BATCH / (time.process_time() - start)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(COUNTS))
    arguments = parser.parse_args()
    kinds = ("blur", "no blur", "none")
    cases = [(size, views) for size in arguments.sizes for views in kinds]
    iterators = {}
    for size, views in cases:
        iterators[size, views] = iter(make_dataset(size, views=views))
        for _ in range(COUNTS[size] // BATCH):  # TensorFlow learns what is cheap
            next(iterators[size, views])
    wait_until_idle()
    rates: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    for _ in range(arguments.rounds):
        for case in cases:
            batches = COUNTS[case[0]] // BATCH
            rates[case].append(images_per_cpu_second(iterators[case], batches))
    print("pixels  views    source images per CPU-second: median (lowest - highest)")
    for (size, views), values in rates.items():
        low, median, high = min(values), statistics.median(values), max(values)
        print(f"{size:6}  {views:7}  {median:,.0f} ({low:,.0f} - {high:,.0f})")


if __name__ == "__main__":
    main()
