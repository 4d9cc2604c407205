"""Sobel filter (SimCLR, arXiv 2002.05709, figure 4)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.augmentations import color

LARGEST = 4.0 * 2.0**0.5  # each derivative of an image in [0, 1] is at most 4


def sobel_edges(image: tf.Tensor) -> tf.Tensor:
    """Show the strength of edges: gray, sqrt(gx^2 + gy^2), scaled to [0, 1].

    The paper names the operation only; borders are reflected, and the scale is that of
    the largest value possible, so that flat images stay dark (ours).

    Args:
        image: [h, w, c] float32 in [0, 1].

    Returns:
        [h, w, c] float32 in [0, 1], equal channels.
    """
    gray = color.to_grayscale(image)[..., :1]
    gradient = tf.image.sobel_edges(gray[None])[0]
    strength = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=-1)) / LARGEST
    return tf.repeat(tf.minimum(strength, 1.0), image.shape[-1], axis=-1)
