"""What is random in a pretraining view, drawn at once from an explicit seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import color
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.rules import PAPER, ViewRules

# Places of the numbers that are drawn only if ``ViewRules.draws_more``.
ADDED_BRIGHTNESS, VERTICAL_FLIP, QUARTER_TURNS, SOLARIZE, THRESHOLD = range(9, 14)
LEAST_PROBABILITY = 1e-6  # [ours] anything less is never drawn


class Draws(NamedTuple):
    """Random numbers of a view, without the window."""

    flip: tf.Tensor  # bool
    jitter_order: tf.Tensor  # int32, as of color.jitter_planes
    jitter_amounts: tf.Tensor  # float32 [4] or [5], as of color.jitter_planes
    mixture: tf.Tensor  # float32 [c, c], of the channels after the jitter
    skip_blur: tf.Tensor  # int32, 0 or 1
    blur_sigma: tf.Tensor
    # None unless ``ViewRules.draws_more``
    vertical_flip: tf.Tensor | None = None  # bool
    quarter_turns: tf.Tensor | None = None  # int32, 0 to 3
    solarize: tf.Tensor | None = None  # bool
    solarize_threshold: tf.Tensor | None = None


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


def draw(
    seed: tf.Tensor, strength: float, rules: ViewRules = PAPER, *, channels: int = 3
) -> Draws:
    """Draw everything of a view but the window."""
    return read(draw_numbers(seed, strength, rules), channels=channels)


def draw_numbers(
    seed: tf.Tensor, strength: float, rules: ViewRules = PAPER
) -> tf.Tensor:
    """Draw all numbers of a view at once, which saves many small operations.

    Returns:
        float32 [9], or [14] if ``rules.draws_more``, which ``read`` understands.
    """
    low, high = ranges(strength, rules)
    return low + tf.random.stateless_uniform(low.shape, seed) * (high - low)


def ranges(strength: float, rules: ViewRules = PAPER) -> tuple[np.ndarray, np.ndarray]:
    """Return least and greatest of the numbers of ``draw_numbers``.

    A choice with probability p is the integer part of a number in [0, 1/p): 0 is yes.
    The numbers are the order of the jitter, the choices flip, grayscale and blur, the
    blur's sigma and the four amounts of the jitter. If ``rules.draws_more``, what is
    added to the brightness, the choice of a vertical flip, the quarter turns, and
    choice and threshold of the solarization follow.

    Args:
        strength: of the colour jitter; 0 leaves it out.
        rules: probabilities and ranges.

    Returns:
        float32 [9] each, or [14].
    """
    jitter = _likely(rules.jitter_probability) if strength > 0 else 0.0
    pairs = [
        color.order_range(jitter),
        _choice_range(rules.flip_probability),
        _choice_range(rules.grayscale_probability),
        _choice_range(rules.blur_probability),
        rules.blur_sigma,
        *color.amount_ranges(strength),
    ]
    if rules.draws_more:
        added = 0.0
        if rules.additive_brightness:
            added, pairs[5] = color.BRIGHTNESS * strength, (1.0, 1.0)
        pairs += [
            (-added, added),
            _choice_range(rules.vertical_flip_probability),
            (0.0, 4.0 if rules.quarter_turns else 0.0),
            _choice_range(rules.solarize_probability),
            (rules.solarize_threshold,) * 2,
        ]
    low, high = np.array(pairs, np.float32).T.copy()
    return low, high


def read(numbers: tf.Tensor, *, channels: int) -> Draws:
    """Name what ``draw_numbers`` drew."""
    codes = tf.minimum(tf.cast(numbers[:4], tf.int32), [color.NO_JITTER, 1, 1, 1])
    order, no_flip, no_gray, skip_blur = tf.unstack(codes)
    no_jitter = order // color.NO_JITTER
    mixtures = np.stack([layout.gray_mixture(channels), layout.identity(channels)])
    draws = Draws(
        flip=tf.equal(no_flip, 0),
        jitter_order=order + no_jitter * (1 - no_gray),  # GRAYSCALE_ONLY follows
        jitter_amounts=numbers[5 : ADDED_BRIGHTNESS + 1],
        mixture=tf.gather(mixtures, tf.maximum(no_gray, no_jitter)),
        skip_blur=skip_blur,
        blur_sigma=numbers[4],
    )
    if numbers.shape[0] <= ADDED_BRIGHTNESS:
        return draws
    return draws._replace(
        vertical_flip=numbers[VERTICAL_FLIP] < 1.0,
        quarter_turns=tf.cast(numbers[QUARTER_TURNS], tf.int32),
        solarize=numbers[SOLARIZE] < 1.0,
        solarize_threshold=numbers[THRESHOLD],
    )


def _likely(probability: float) -> float:
    return probability if probability >= LEAST_PROBABILITY else 0.0


def _choice_range(probability: float) -> tuple[float, float]:
    return (0.0, 1.0 / probability) if _likely(probability) > 0 else (1.0, 1.0)
