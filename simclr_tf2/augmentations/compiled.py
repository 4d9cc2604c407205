"""What follows the crop of a small view, compiled by XLA into one operation.

A view of 32 pixels is some hundred operations of a microsecond's work; as one compiled
function it takes less than half the time. XLA for CPUs splits greater loops over
threads, which costs more than it brings where many images are made at once, and copies
what branches share: so views of more than ``PIXELS`` stay with TensorFlow's kernels.
Distribution and formulas are the same, results differ by rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, branching, color, crop, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.solarize import solarize_where

PIXELS = 64 * 64  # of a view; from here on XLA was not faster (benchmarks/augment.py)
# Steps of an order: an operation of color.ORDERS, or one of these.
_CLIP, _GRAYSCALE = 4, 5
_STEPS = (*color.ORDERS, (_CLIP,) * 4, (_GRAYSCALE,) * 4)  # only the first one is made


def finish(
    window: tf.Tensor, numbers: tf.Tensor, *, scale: float, radius: int
) -> tf.Tensor:
    """Flip, jitter, drop the colour, blur and so on, as ``policy`` does by kernels.

    Args:
        window: [height, width, c] float32, a static shape.
        numbers: float32 [9] or [14], of ``sampling.draw_numbers``.
        scale: multiplies the window first.
        radius: half width of the blur; 0 never blurs.

    Returns:
        [height, width, c] float32 in [0, 1].
    """
    function = _function(*window.shape, radius, numbers.shape[0])
    return function(window, numbers, tf.convert_to_tensor(scale))


@functools.cache
def _function(
    height: int, width: int, channels: int, radius: int, count: int
) -> Callable:
    def run(window: tf.Tensor, numbers: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        draws = sampling.read(numbers, channels=channels)
        planes = layout.to_planes(window) * scale
        lines = tf.reshape(planes, [channels, height, width])
        lines = tf.where(draws.flip, tf.reverse(lines, [2]), lines)
        if draws.vertical_flip is not None:
            lines = crop.orient(
                lines,
                vertical_flip=draws.vertical_flip,
                quarter_turns=draws.quarter_turns,
            )
        planes = tf.unstack(tf.reshape(lines, [channels, height * width]))
        planes = _jitter(planes, draws.jitter_order, draws.jitter_amounts)
        if radius > 0:
            planes = tf.cond(
                tf.equal(draws.skip_blur, 1),
                lambda: planes,
                lambda: _blur(planes, draws.blur_sigma, radius, (height, width)),
            )
        planes = [_mix(planes, weights) for weights in tf.unstack(draws.mixture)]
        image = tf.reshape(tf.stack(planes, axis=1), [height, width, channels])
        if draws.solarize is None:
            return image
        return solarize_where(image, draws.solarize, draws.solarize_threshold)

    shapes = (height, width, channels), (count,), ()
    return branching.trace(run, *shapes, jit_compile=True)


def _jitter(planes: list[tf.Tensor], order: tf.Tensor, amounts: tf.Tensor) -> list:
    """Jitter as ``color.jitter_planes`` does, with one plane for each channel."""
    channels = len(planes)

    def adjust(operation: int, planes: list[tf.Tensor]) -> list[tf.Tensor]:
        changed = color.adjust(operation, tf.stack(planes), amounts)
        return [layout.clip(plane) for plane in tf.unstack(changed)]

    def drop_colour(planes: list[tf.Tensor]) -> list[tf.Tensor]:
        weights = layout.gray_mixture(channels)[0]
        return [layout.clip(_mix(planes, weights))] * channels

    branches: list[Callable[[list], list]] = [
        functools.partial(adjust, operation)
        if operation in color.meaningful(channels)
        else list
        for operation in range(4)
    ]
    branches += [lambda planes: [layout.clip(p) for p in planes], drop_colour]
    steps = tf.gather(np.array(_STEPS, np.int32), order)
    count = tf.where(order < color.NO_JITTER, 4, 1)

    def step(position: tf.Tensor, *planes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return position + 1, *tf.switch_case(
            steps[position], [functools.partial(b, list(planes)) for b in branches]
        )

    _, *planes = tf.while_loop(lambda i, *_: i < count, step, (0, *planes))
    return planes


def _blur(
    planes: list[tf.Tensor], sigma: tf.Tensor, radius: int, size: tuple[int, int]
) -> list[tf.Tensor]:
    """Blur as ``blur.gaussian_blur`` does, by sums of shifted rows and columns."""
    height, width = size
    taps = blur.kernel(sigma, radius=radius)
    blurred = []
    for plane in planes:
        x = tf.pad(tf.reshape(plane, size), [[radius, radius], [0, 0]])
        x = tf.add_n([taps[i] * x[i : i + height] for i in range(2 * radius + 1)])
        x = tf.pad(x, [[0, 0], [radius, radius]])
        x = tf.add_n([taps[i] * x[:, i : i + width] for i in range(2 * radius + 1)])
        blurred.append(tf.reshape(tf.minimum(x, 1.0), [-1]))  # rounding
    return blurred


def _mix(planes: list[tf.Tensor], weights: tf.Tensor | np.ndarray) -> tf.Tensor:
    return tf.add_n([plane * weights[i] for i, plane in enumerate(planes)])
