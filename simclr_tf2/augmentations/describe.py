"""Say in plain values what a pretraining view drew, for pictures and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.rules import PAPER, ViewRules

ADDED = "added brightness"
_NAMES = ("brightness", "contrast", "saturation", "hue")  # as color.ORDERS counts


def describe_view(
    image_shape: Sequence[int],
    *,
    seed: tf.Tensor,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    use_blur: bool = True,
    rules: ViewRules = PAPER,
) -> dict[str, Any]:
    """Return what ``pretrain_view`` draws with these arguments. Runs eagerly only.

    Args:
        image_shape: [h, w, c] of the image.
        seed: int32 [2], or [2, 2], one of ``view_seeds``.
        image_size: side of the view, or (height, width).
        strength: of the colour jitter; 0 leaves the grayscale.
        use_blur: draw the Gaussian blur too.
        rules: probabilities and ranges.

    Returns:
        ``crop``: (y, x, height, width) of the window, in pixels of the image;
        ``flip`` and ``vertical_flip``: bool;
        ``turn``: degrees counter-clockwise after the flips: 0, 90, 180 or 270;
        ``jitter``: None, or operation -> amount in the order of application: factors of
        brightness, contrast and saturation, turns of hue; "added brightness" in the
        place of the first with ``rules.additive_brightness``;
        ``grayscale``: bool, whether the colour is dropped;
        ``blur``: None, or sigma in pixels of the view;
        ``solarize``: None, or the threshold.
    """
    height, width = crop.height_and_width(image_size)
    channels = int(image_shape[-1])
    window_seed, draw_seed = tf.unstack(sampling.split(seed))
    begin, size = crop.sample_crop_window(
        tf.constant(image_shape, tf.int32),
        seed=window_seed,
        aspect=width / height,
        area_range=rules.crop_area,
        aspect_limits=rules.crop_aspect,
    )
    draws = sampling.draw(draw_seed, strength, rules, channels=channels)
    blurred = use_blur and blur.blur_radius(height) > 0 and not int(draws.skip_blur)
    return {
        "crop": (*begin.numpy()[:2].tolist(), *size.numpy()[:2].tolist()),
        "flip": bool(draws.flip),
        "vertical_flip": bool(draws.vertical_flip),
        "turn": 90 * int(draws.quarter_turns or 0),
        "jitter": _jitter(draws, rules, channels),
        "grayscale": channels > 1 and _drops_colour(draws),
        "blur": float(draws.blur_sigma) if blurred else None,
        "solarize": rules.solarize_threshold if draws.solarize else None,
    }


def _jitter(
    draws: sampling.Draws, rules: ViewRules, channels: int
) -> dict[str, float] | None:
    order = int(draws.jitter_order)
    if order >= color.NO_JITTER:
        return None
    names, amounts = _NAMES, [float(amount) for amount in draws.jitter_amounts]
    if rules.additive_brightness:
        names, amounts[0] = (ADDED, *_NAMES[1:]), amounts[-1]
    return {
        names[operation]: amounts[operation]
        for operation in color.ORDERS[order]
        if operation in color.meaningful(channels)
    }


def _drops_colour(draws: sampling.Draws) -> bool:
    mixes = not np.array_equal(draws.mixture, layout.identity(draws.mixture.shape[0]))
    return mixes or int(draws.jitter_order) == color.GRAYSCALE_ONLY
