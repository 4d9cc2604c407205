"""Gaussian blur (SimCLR, appendix A)."""

from __future__ import annotations

import tensorflow as tf

PROBABILITY = 0.5  # appendix A
SIGMA_RANGE = (0.1, 2.0)  # pixels; appendix A


def blur_radius(height: int) -> int:
    """Half width of the kernel: 10 % of the height, made odd (reference code)."""
    return (height // 10) // 2


def gaussian_kernel(sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Sampled Gaussian of 2 * radius + 1 taps that sum to 1."""
    x = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.exp(-(x**2) / (2 * sigma**2))
    return kernel / tf.reduce_sum(kernel)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Blur rows and columns; zero padding, so borders darken (reference code).

    Args:
        image: [h, w, c] float32.
        sigma: scalar, pixels.
        radius: half width of the kernel; 0 changes nothing.

    Returns:
        [h, w, c] float32.
    """
    if radius == 0:
        return image
    kernel = gaussian_kernel(sigma, radius=radius)
    kernel = tf.tile(kernel[:, None, None, None], [1, 1, image.shape[-1], 1])
    image = image[None]
    for k in (kernel, tf.transpose(kernel, [1, 0, 2, 3])):
        image = tf.nn.depthwise_conv2d(image, k, [1, 1, 1, 1], "SAME")
    return image[0]


def random_gaussian_blur(
    image: tf.Tensor, *, seed: tf.Tensor, probability: float = PROBABILITY
) -> tf.Tensor:
    """Blur with the given probability and a sigma of this example's own.

    The reference code draws one sigma for a whole batch; the paper draws one for each
    example, and so do we.

    Args:
        image: [h, w, c] float32, static height.
        seed: int32 [2].
        probability: of blurring.

    Returns:
        [h, w, c] float32 in [0, 1] for an image in [0, 1].
    """
    draws = tf.random.stateless_uniform([2], seed)
    low, high = SIGMA_RANGE
    sigma = low + draws[1] * (high - low)
    return tf.cond(
        draws[0] < probability,
        lambda: gaussian_blur(image, sigma, radius=blur_radius(image.shape[0])),
        lambda: image,
    )
