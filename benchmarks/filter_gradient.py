"""Filter gradients of 3x3 convolutions: TensorFlow's own, and as a convolution.

For maps of some sizes and channels: GFLOP per CPU-second of the way forward, of
TensorFlow's filter gradient, and of ``models.convolution.filter_gradient``, which the
layers take up to ``LARGEST_MAP`` positions. ``ONEDNN_MAX_CPU_ISA=AVX2`` in the
environment shows what a CPU without AVX-512 does. Run::

    python -m benchmarks.filter_gradient [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from benchmarks import machine_line

# Images, side of the map, channels in and out: stages of ResNet-18 at 32 px (batch of
# 128, two views), of ResNet at 224 px, and of 0.2's quickstart.
CASES = (
    (256, 16, 128),
    (256, 8, 256),
    (256, 4, 512),
    (256, 2, 512),
    (64, 7, 512),
    (64, 7, 256),
    (512, 4, 64),
    (512, 2, 128),
    (512, 1, 256),
)


def rate(run: Callable, arguments: tuple, gigaflop: float, repeats: int) -> float:
    """Return the best of some runs, in GFLOP per CPU-second."""
    run(*arguments)
    seconds = []
    for _ in range(repeats):
        begun = time.process_time()
        run(*arguments)
        seconds.append(time.process_time() - begun)
    return gigaflop / min(seconds)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(f"{machine_line()}\nGFLOP per CPU-second of a 3x3 convolution")
    print("images  map  channels   forward  TensorFlow's  as a convolution")
    import tensorflow as tf

    from simclr_tf2.models.convolution import filter_gradient

    for images, side, channels in CASES:
        x = tf.random.stateless_normal([images, side, side, channels], (0, 1))
        dy = tf.random.stateless_normal(x.shape, (0, 2))
        kernel = tf.random.stateless_normal([3, 3, channels, channels], (0, 3))

        @tf.function(autograph=False)
        def forward(x, kernel):
            return tf.nn.conv2d(x, kernel, 1, "SAME")

        @tf.function(autograph=False)
        def theirs(x, dy, shape=tuple(kernel.shape)):
            return tf.raw_ops.Conv2DBackpropFilter(
                input=x,
                filter_sizes=shape,
                out_backprop=dy,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )

        @tf.function(autograph=False)
        def ours(x, dy):
            return filter_gradient(x, dy, size=3)

        gigaflop = 2e-9 * 9 * images * side * side * channels * channels
        forward_rate, their_rate, our_rate = (
            rate(run, arguments, gigaflop, given.repeats)
            for run, arguments in (
                (forward, (x, kernel)),
                (theirs, (x, dy)),
                (ours, (x, dy)),
            )
        )
        print(
            f"{images:6} {side:2}x{side:<2} {channels:8} {forward_rate:9.1f} "
            f"{their_rate:13.1f} {our_rate:17.1f}"
        )


if __name__ == "__main__":
    main()
