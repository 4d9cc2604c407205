"""Cutout (SimCLR, arXiv 2002.05709, figure 4)."""

from __future__ import annotations

import tensorflow as tf

SIDE_RANGE = (0.25, 0.5)  # of the image's sides; ours, the paper gives no number


def cutout(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Set one square (of equal parts of both sides) inside the image to 0.

    Args:
        image: [h, w, c] float32.
        seed: int32 [2].

    Returns:
        [h, w, c] float32.
    """
    draws = tf.random.stateless_uniform([3], seed)
    low, high = SIDE_RANGE
    shape = tf.shape(image)[:2]
    extent = tf.cast(shape, tf.float32)
    size = tf.math.rint((low + draws[0] * (high - low)) * extent)
    size = tf.clip_by_value(size, 1.0, extent)
    first = tf.floor(draws[1:] * (extent - size + 1.0))
    rows, columns = (_inside(shape[axis], first[axis], size[axis]) for axis in range(2))
    return tf.where((rows[:, None] & columns[None])[..., None], 0.0, image)


def _inside(length: tf.Tensor, first: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return bool [length], True from ``first`` on for ``size`` pixels."""
    position = tf.range(tf.cast(length, tf.float32))
    return (position >= first) & (position < first + size)
