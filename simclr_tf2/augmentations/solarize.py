"""Solarization: bright pixels are inverted (BYOL, arXiv 2006.07733, appendix B)."""

from __future__ import annotations

import tensorflow as tf

THRESHOLD = 0.5  # BYOL, appendix B


def solarize_where(
    images: tf.Tensor, chosen: tf.Tensor, threshold: tf.Tensor | float = THRESHOLD
) -> tf.Tensor:
    """Replace values x that are not below ``threshold`` by 1 - x.

    Args:
        images: Any shape, floats in [0, 1].
        chosen: bool that broadcasts to ``images``: where to do so.
        threshold: From 0 to 1; broadcasts to ``images``.

    Returns:
        As ``images``.
    """
    changed = tf.logical_and(chosen, images >= threshold)
    return tf.where(changed, 1.0 - images, images)
