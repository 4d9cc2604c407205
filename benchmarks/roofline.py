"""What this machine can do at most, and the share of it that the training step reaches.

The peak is that of a matrix product of 2048 x 2048 (TensorFlow, all threads) and of
ResNet-18's 3 x 3 convolutions at 32 px in training, forward and backward. The step is
``benchmarks.step``'s; its arithmetic is counted by ``benchmarks.scaling``. Everything
is GFLOP per CPU-second, measured in turns in one run. Run::

    python -m benchmarks.roofline [--rounds 5] [--batch 128]
"""

from __future__ import annotations

import argparse
import functools
import statistics

from benchmarks.interleaved import take_turns
from benchmarks.scaling import gigaflop
from benchmarks.step import STAGES, ours

SIDE = 2048


def product(dtype: str):
    """Return a function of no arguments that computes a square matrix product."""
    import tensorflow as tf

    a = tf.cast(tf.random.stateless_uniform([SIDE, SIDE], (0, 1)), dtype)
    run = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)[0]), autograph=False)
    return lambda: float(run())


def convolutions(dtype: str, images: int):
    """Return one 3 x 3 convolution of each stage, with its gradients, as a function."""
    import tensorflow as tf

    shapes, side = [], 32
    for filters, stride in STAGES:
        side //= stride
        shapes.append(((images, side, side, filters), (3, 3, filters, filters)))
    pairs = [
        [tf.cast(tf.random.stateless_uniform(shape, (0, 1)), dtype) for shape in pair]
        for pair in shapes
    ]

    def run():
        total = tf.zeros([], dtype)
        for image, kernel in pairs:
            with tf.GradientTape() as tape:
                tape.watch([image, kernel])
                made = tf.nn.conv2d(image, kernel, 1, "SAME")
            gradients = tape.gradient(made, [image, kernel], made)
            total += sum(tf.reduce_sum(g[0]) for g in gradients)
        return total

    run = tf.function(run, autograph=False)
    return lambda: float(run())


def convolution_gigaflop(images: int) -> float:
    """Return the arithmetic of ``convolutions`` in GFLOP."""
    total, side = 0, 32
    for filters, stride in STAGES:
        side //= stride
        total += 3 * 2 * images * side**2 * 9 * filters**2
    return total / 1e9


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    images = 2 * given.batch
    cases: dict = {}
    work = {}
    for dtype in ("float32", "bfloat16"):
        cases["matrix product", dtype] = product, (dtype,)
        work["matrix product", dtype] = 2 * SIDE**3 / 1e9
        cases["3x3 convolutions", dtype] = convolutions, (dtype, images)
        work["3x3 convolutions", dtype] = convolution_gigaflop(images)
        cases["pretraining step", dtype] = ours, (given.batch, 32, dtype)
        work["pretraining step", dtype] = functools.partial(
            lambda: images * gigaflop(32, 18, 1)
        )
    found = take_turns(cases, rounds=given.rounds, repeats=2)
    peak = {}
    print("work               type      GFLOP per CPU-second   share of the product")
    for (name, dtype), times in found.items():
        amount = work[name, dtype]
        amount = amount() if callable(amount) else amount
        rate = amount / statistics.median(times["cpu"])
        share = rate / peak.setdefault(dtype, rate)
        print(f"{name:18} {dtype:9} {rate:20.1f} {share:22.2f}")


if __name__ == "__main__":
    main()
