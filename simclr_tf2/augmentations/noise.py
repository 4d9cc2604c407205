"""Gaussian noise (SimCLR, arXiv 2002.05709, figure 4)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.augmentations import planes as layout

SIGMA_RANGE = (0.0, 0.2)  # of the range [0, 1]; ours, the paper gives no number


def gaussian_noise(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Add noise of one random strength to every value and clip.

    Args:
        image: [h, w, c] float32 in [0, 1].
        seed: int32 [2].

    Returns:
        [h, w, c] float32 in [0, 1].
    """
    sigma_seed, noise_seed = tf.unstack(tf.random.split(seed, 2))
    low, high = SIGMA_RANGE
    sigma = tf.random.stateless_uniform([], sigma_seed, low, high)
    noise = tf.random.stateless_normal(tf.shape(image), noise_seed)
    return layout.clip(image + sigma * noise)
