"""Rotation by right angles (SimCLR, arXiv 2002.05709, figure 4)."""

from __future__ import annotations

import tensorflow as tf


def rotate_quarters(image: tf.Tensor, quarters: tf.Tensor) -> tf.Tensor:
    """Turn a square image counter-clockwise by ``quarters`` right angles.

    Args:
        image: [s, s, c], a static shape.
        quarters: int scalar.

    Returns:
        [s, s, c].

    Raises:
        ValueError: the image is not square.
    """
    if image.shape[0] != image.shape[1]:
        raise ValueError(
            f"rotation needs a square image. Received: shape {tuple(image.shape)}."
        )
    return tf.ensure_shape(tf.image.rot90(image, quarters), image.shape)


def random_rotation(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Turn by 90, 180 or 270 degrees, never by 0 (paper, figure 4f)."""
    quarters = tf.random.stateless_uniform([], seed, 1, 4, dtype=tf.int32)
    return rotate_quarters(image, quarters)
