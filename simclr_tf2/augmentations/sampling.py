"""What is random in a pretraining view, drawn at once from an explicit seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop
from simclr_tf2.augmentations import planes as layout


class Draws(NamedTuple):
    """Random numbers of a view, without the window."""

    flip: tf.Tensor  # bool
    jitter_order: tf.Tensor  # int32, as of color.jitter_planes
    jitter_amounts: tf.Tensor  # float32 [4]
    mixture: tf.Tensor  # float32 [c, c], of the channels after the jitter
    skip_blur: tf.Tensor  # int32, 0 or 1
    blur_sigma: tf.Tensor


def view_seeds(seed: tf.Tensor, *, num_views: int = 2) -> list[tf.Tensor]:
    """Return the seed of each view that ``views`` draws of one image.

    Args:
        seed: int32 [2], as of ``two_views``.
        num_views: how many; the first ones do not depend on it.

    Returns:
        ``num_views`` times int32 [2, 2]: a seed for the window and one for everything
        else, which ``pretrain_view`` and ``describe_view`` take as ``seed``.
    """
    seeds = tf.random.split(seed, 2 * num_views)
    of_views: list[tf.Tensor] = tf.unstack(tf.reshape(seeds, [num_views, 2, 2]))
    return of_views


def split(seed: tf.Tensor) -> tf.Tensor:
    """Make int32 [2, 2] of the seed of one view: [2], or [2, 2] of ``view_seeds``."""
    seed = tf.convert_to_tensor(seed, tf.int32)
    return tf.random.split(seed, 2) if seed.shape.rank == 1 else seed


def draw(seed: tf.Tensor, strength: float, *, channels: int = 3) -> Draws:
    """Draw everything of a view but the window."""
    return read(draw_numbers(seed, strength), channels=channels)


def draw_numbers(seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Draw all numbers of a view at once, which saves many small operations.

    Returns:
        float32 [9], which ``read`` understands.
    """
    low, high = ranges(strength)
    return low + tf.random.stateless_uniform(low.shape, seed) * (high - low)


def ranges(strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return least and greatest of the numbers of ``draw_numbers``, float32 [9] each.

    A choice with probability p is the integer part of a number in [0, 1/p): 0 is yes.
    """
    jitter = color.order_range(color.JITTER_PROBABILITY if strength > 0 else 0.0)
    choices = [
        _choice_range(probability)
        for probability in (
            crop.FLIP_PROBABILITY,
            color.GRAYSCALE_PROBABILITY,
            blur.PROBABILITY,
        )
    ]
    pairs = [jitter, *choices, blur.SIGMA_RANGE, *color.amount_ranges(strength)]
    low, high = np.array(pairs, np.float32).T.copy()
    return low, high


def read(numbers: tf.Tensor, *, channels: int) -> Draws:
    """Name what ``draw_numbers`` drew."""
    codes = tf.minimum(tf.cast(numbers[:4], tf.int32), [color.NO_JITTER, 1, 1, 1])
    order, no_flip, no_gray, skip_blur = tf.unstack(codes)
    no_jitter = order // color.NO_JITTER
    mixtures = np.stack([layout.gray_mixture(channels), layout.identity(channels)])
    return Draws(
        flip=tf.equal(no_flip, 0),
        jitter_order=order + no_jitter * (1 - no_gray),  # GRAYSCALE_ONLY follows
        jitter_amounts=numbers[5:],
        mixture=tf.gather(mixtures, tf.maximum(no_gray, no_jitter)),
        skip_blur=skip_blur,
        blur_sigma=numbers[4],
    )


def _choice_range(probability: float) -> tuple[float, float]:
    return (0.0, 1.0 / probability) if probability > 0 else (1.0, 1.0)
