"""The views: which operations make a training, fine-tuning or evaluation image."""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop
from simclr_tf2.augmentations import planes as layout

logger = logging.getLogger(__name__)

NO_CENTER_CROP_UP_TO = 32  # pixels; reference code: CIFAR images are used whole


def two_views(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    image_size: int,
    strength: float = 1.0,
    use_blur: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw two independent pretraining views of one image.

    Args:
        image: [h, w, 3], integers or floats in [0, 1].
        seed: int32 [2]; the views are a pure function of image and seed.
        image_size: side of the views.
        strength: of the colour jitter; 0 leaves the grayscale.
        use_blur: draw the Gaussian blur too.

    Returns:
        Two views, each [image_size, image_size, 3] float32 in [0, 1].
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    first, second = (
        _draw_view(image, pair, image_size, strength=strength, use_blur=use_blur)
        for pair in (seeds[:2], seeds[2:])
    )
    return first, second


def pretrain_view(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    image_size: int,
    strength: float = 1.0,
    use_blur: bool = True,
) -> tf.Tensor:
    """Draw one pretraining view; arguments and result are those of ``two_views``."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    return _draw_view(image, seeds, image_size, strength=strength, use_blur=use_blur)


def finetune_view(image: tf.Tensor, *, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Crop at random and flip, [h, w, c] -> [image_size, image_size, c] in [0, 1]."""
    image = tf.convert_to_tensor(image)
    window_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    view = _random_window(image, seed=window_seed, image_size=image_size)
    view = crop.random_flip(view, seed=flip_seed)
    return layout.clip(view * crop.unit_scale(image.dtype))


def eval_view(image: tf.Tensor, *, image_size: int) -> tf.Tensor:
    """Crop the centre and resize, [h, w, c] -> [image_size, image_size, c] in [0, 1].

    The window has 87.5 % of the largest possible side. Up to 32 pixels the reference
    code crops nothing; we then still cut a square out of an image that is none.
    """
    whole = image_size <= NO_CENTER_CROP_UP_TO
    view = crop.center_crop_and_resize(
        tf.convert_to_tensor(image),
        height=image_size,
        width=image_size,
        proportion=1.0 if whole else crop.EVAL_PROPORTION,
    )
    return layout.clip(view)


def _random_window(image: tf.Tensor, *, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Crop and resize, neither scaled nor clipped: the reference code clips last."""
    begin, size = crop.sample_crop_window(tf.shape(image), seed=seed)
    return crop.resize_window(image, begin, size, height=image_size, width=image_size)


def _draw_view(
    image: tf.Tensor,
    seeds: list[tf.Tensor],
    image_size: int,
    *,
    strength: float,
    use_blur: bool,
) -> tf.Tensor:
    """Crop, flip, jitter, grayscale, blur.

    Grayscale mixes the channels, which is free in a change of layout. After a jitter
    (which ends with a clip) it commutes with the blur and waits for that; without one
    it is done at once, so that the clip follows it as in the reference code.

    Args:
        image: as in ``two_views``.
        seeds: two, for the window and for everything else.
        image_size: as in ``two_views``.
        strength: as in ``two_views``.
        use_blur: as in ``two_views``.
    """
    image = tf.convert_to_tensor(image)
    draws = _draw(seeds[1], strength)
    view = _random_window(image, seed=seeds[0], image_size=image_size)
    planes = layout.to_planes(view)
    planes = crop.flip_planes(planes, draws.flip, width=image_size)
    planes = color.jitter_planes(
        planes,
        draws.jitter_amounts,
        order=draws.jitter_order,
        scale=crop.unit_scale(image.dtype),
    )
    size = {"height": image_size, "width": image_size}
    radius = blur.blur_radius(image_size)
    if not use_blur or radius == 0:
        if use_blur:
            _warn_without_blur(image_size)
        return layout.to_image(planes, mixture=draws.mixture, **size)
    return blur.blur_or_not(
        planes,
        draws.blur_sigma,
        skip=draws.skip_blur,
        radius=radius,
        mixture=draws.mixture,
        **size,
    )


class _Draws(NamedTuple):
    """What is random in a view, but for the window."""

    flip: tf.Tensor  # bool
    jitter_order: tf.Tensor  # int32, as of color.jitter_planes
    jitter_amounts: tf.Tensor  # float32 [4]
    mixture: tf.Tensor  # float32 [3, 3], of the channels after the jitter
    skip_blur: tf.Tensor  # int32, 0 or 1
    blur_sigma: tf.Tensor


def _draw(seed: tf.Tensor, strength: float) -> _Draws:
    """Draw everything at once: small operations are what a small image waits for.

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
    ranges = [jitter, *choices, blur.SIGMA_RANGE, *color.amount_ranges(strength)]
    low, high = np.array(ranges, np.float32).T
    values = low + tf.random.stateless_uniform([len(ranges)], seed) * (high - low)
    codes = tf.minimum(tf.cast(values[:4], tf.int32), [color.NO_JITTER, 1, 1, 1])
    order, no_flip, no_gray, skip_blur = tf.unstack(codes)
    no_jitter = order // color.NO_JITTER
    return _Draws(
        flip=tf.equal(no_flip, 0),
        jitter_order=order + no_jitter * (1 - no_gray),  # GRAYSCALE_ONLY follows
        jitter_amounts=values[5:],
        mixture=tf.gather((layout.LUMA, layout.EYE), tf.maximum(no_gray, no_jitter)),
        skip_blur=skip_blur,
        blur_sigma=values[4],
    )


def _choice_range(probability: float) -> tuple[float, float]:
    return (0.0, 1.0 / probability) if probability > 0 else (1.0, 1.0)


@functools.cache
def _warn_without_blur(image_size: int) -> None:
    logger.warning("views of %d pixels are too small to be blurred", image_size)
