"""Colour distortion: jitter and colour drop (SimCLR, appendix A; reference code)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

JITTER_PROBABILITY = 0.8  # appendix A
GRAYSCALE_PROBABILITY = 0.2  # appendix A
BRIGHTNESS = CONTRAST = SATURATION = 0.8  # times the strength; appendix A
HUE = 0.2  # times the strength, in turns; appendix A


def adjust_brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply by ``factor`` (the reference code's "v2"), not clipped."""
    return image * factor


def add_brightness(image: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Add ``delta`` (the reference code's "v1"), not clipped."""
    return image + delta


def adjust_contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scale the distance to the mean of each channel, not clipped."""
    mean = tf.reduce_mean(image, axis=(-3, -2), keepdims=True)
    return (image - mean) * factor + mean


def adjust_saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply the S of HSV by ``factor`` and keep it within [0, 1]."""
    return tf.image.adjust_saturation(image, factor)


def adjust_hue(image: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Turn the H of HSV by ``delta`` turns."""
    return tf.image.adjust_hue(image, delta)


def to_grayscale(image: tf.Tensor) -> tf.Tensor:
    """Drop the colour: three equal channels with the ITU-R 601 luma."""
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def color_jitter(
    image: tf.Tensor,
    *,
    order: tf.Tensor,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
) -> tf.Tensor:
    """Apply the four operations in the given order and clip after each.

    Args:
        image: [h, w, 3] float32.
        order: int [4], a permutation: 0 brightness, 1 contrast, 2 saturation, 3 hue.
        brightness: factor.
        contrast: factor.
        saturation: factor, 0 or greater.
        hue: turns, from -1 to 1.

    Returns:
        [h, w, 3] float32 in [0, 1].
    """
    for position in range(4):
        branches: list[Callable[[], tf.Tensor]] = [
            lambda x=image: adjust_brightness(x, brightness),
            lambda x=image: adjust_contrast(x, contrast),
            lambda x=image: adjust_saturation(x, saturation),
            lambda x=image: adjust_hue(x, hue),
        ]
        image = tf.switch_case(order[position], branches)
        image = tf.clip_by_value(image, 0.0, 1.0)
    return image


def random_color_jitter(
    image: tf.Tensor, *, seed: tf.Tensor, strength: float = 1.0, additive: bool = False
) -> tf.Tensor:
    """Draw factors and order and jitter, always (no probability here).

    Args:
        image: [h, w, 3] float32.
        seed: int32 [2].
        strength: 0 (nothing but a clip) or more; 1 is the paper's.
        additive: add to the brightness ("v1") instead of multiplying ("v2").

    Returns:
        [h, w, 3] float32 in [0, 1].
    """
    del additive
    draws = tf.random.stateless_uniform([8], seed)
    low = max(1 - 0.8 * strength, 0.0)
    high = 1 + 0.8 * strength
    factors = low + draws[:3] * (high - low)
    return color_jitter(
        image,
        order=tf.argsort(draws[4:]),
        brightness=factors[0],
        contrast=factors[1],
        saturation=factors[2],
        hue=(2 * draws[3] - 1) * HUE * strength,
    )


def random_color_distortion(
    image: tf.Tensor, *, seed: tf.Tensor, strength: float = 1.0
) -> tf.Tensor:
    """Jitter with probability 0.8, then drop the colour with probability 0.2."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([2], seeds[0])
    if strength > 0:
        image = tf.cond(
            draws[0] < JITTER_PROBABILITY,
            lambda: random_color_jitter(image, seed=seeds[1], strength=strength),
            lambda: image,
        )
    return tf.cond(
        draws[1] < GRAYSCALE_PROBABILITY, lambda: to_grayscale(image), lambda: image
    )
