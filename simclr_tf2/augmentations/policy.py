"""The views: which operations make a training, fine-tuning or evaluation image."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf2.augmentations import blur, color, compiled, crop, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.rules import PAPER, ViewRules
from simclr_tf2.augmentations.solarize import solarize_where

logger = logging.getLogger(__name__)

# Pixels, of the larger side; reference code: CIFAR images are used whole.
NO_CENTER_CROP_UP_TO = 32


def views(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    num_views: int,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    use_blur: bool = True,
    rules: ViewRules = PAPER,
) -> tuple[tf.Tensor, ...]:
    """Draw independent pretraining views of one image.

    Images of three channels are red, green and blue. Others are jittered in brightness
    and contrast only, and lose their colour by taking the mean of the channels (ours).

    Args:
        image: [h, w, c], integers or floats in [0, 1]; c must be known statically.
        seed: int32 [2]; the views are a pure function of image and seed.
        num_views: how many; the first ones do not depend on it.
        image_size: side of the views, or (height, width).
        strength: of the colour jitter; 0 leaves the grayscale.
        use_blur: draw the Gaussian blur too.
        rules: probabilities and ranges.

    Returns:
        ``num_views`` views, each [height, width, c] float32 in [0, 1].
    """
    return tuple(
        pretrain_view(
            image,
            seed=view_seed,
            image_size=image_size,
            strength=strength,
            use_blur=use_blur,
            rules=rules,
        )
        for view_seed in sampling.view_seeds(seed, num_views=num_views)
    )


def windows(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    num_views: int,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    rules: ViewRules = PAPER,
) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
    """Draw as ``views`` does, but stop after the crop: ``on_device`` goes on.

    Args:
        image: [h, w, c], integers or floats in [0, 1]; c must be known statically.
        seed: int32 [2].
        num_views: how many.
        image_size: side of the views, or (height, width).
        strength: of the colour jitter that is drawn.
        rules: probabilities and ranges.

    Returns:
        ``num_views`` windows, each [height, width, c] float32 in [0, 1] but for what
        the resize overshoots, and as many times the numbers, float32 [9] or
        [14], of ``sampling.draw_numbers``.
    """
    image = tf.convert_to_tensor(image)
    rules.require_fit(image_size)
    channels = layout.require_channels(image)
    if channels != 3:
        _tell_what_is_left_out(channels)
    made, numbers = [], []
    for view_seed in sampling.view_seeds(seed, num_views=num_views):
        window_seed, draw_seed = tf.unstack(view_seed)
        window = _random_window(
            image, seed=window_seed, image_size=image_size, rules=rules
        )
        made.append(window * crop.unit_scale(image.dtype))
        numbers.append(sampling.draw_numbers(draw_seed, strength, rules))
    return tuple(made), tuple(numbers)


def two_views(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    use_blur: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Make two views: ``views`` with ``num_views=2``."""
    first, second = views(
        image,
        seed=seed,
        num_views=2,
        image_size=image_size,
        strength=strength,
        use_blur=use_blur,
    )
    return first, second


def pretrain_view(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    use_blur: bool = True,
    rules: ViewRules = PAPER,
) -> tf.Tensor:
    """Draw one pretraining view: crop, flip, jitter, grayscale, blur, solarization.

    Grayscale mixes the channels, which is free in a change of layout. After a jitter
    (which ends with a clip) it commutes with the blur and waits for that; without one
    it is done at once, so that the clip follows it as in the reference code.

    Args:
        image: [h, w, c], integers or floats in [0, 1]; c must be known statically.
        seed: int32 [2], or [2, 2], one of ``view_seeds``.
        image_size: side of the view, or (height, width).
        strength: of the colour jitter; 0 leaves the grayscale.
        use_blur: draw the Gaussian blur too.
        rules: probabilities and ranges.

    Returns:
        [height, width, c] float32 in [0, 1].
    """
    image = tf.convert_to_tensor(image)
    rules.require_fit(image_size)
    channels = layout.require_channels(image)
    if channels != 3:
        _tell_what_is_left_out(channels)
    height, width = crop.height_and_width(image_size)
    window_seed, draw_seed = tf.unstack(sampling.split(seed))
    numbers = sampling.draw_numbers(draw_seed, strength, rules)
    view = _random_window(image, seed=window_seed, image_size=image_size, rules=rules)
    radius = blur.blur_radius(height) if use_blur else 0
    if use_blur and radius == 0:
        warn_without_blur(height)
    finish = compiled.finish if height * width <= compiled.PIXELS else _finish
    return finish(view, numbers, scale=crop.unit_scale(image.dtype), radius=radius)


def _finish(
    window: tf.Tensor, numbers: tf.Tensor, *, scale: float, radius: int
) -> tf.Tensor:
    """Finish a window by kernels as ``compiled.finish`` does; same arguments."""
    height, width, channels = window.shape
    draws = sampling.read(numbers, channels=channels)
    planes = layout.to_planes(window)
    planes = crop.flip_planes(planes, draws.flip, width=width)
    if draws.vertical_flip is not None:
        lines = crop.orient(
            tf.reshape(planes, [channels, height, width]),
            vertical_flip=draws.vertical_flip,
            quarter_turns=draws.quarter_turns,
        )
        planes = tf.reshape(lines, planes.shape)
    planes = color.jitter_planes(
        planes,
        draws.jitter_amounts,
        order=draws.jitter_order,
        scale=scale,
    )
    size = {"height": height, "width": width}
    if radius == 0:
        image = layout.to_image(planes, mixture=draws.mixture, **size)
    else:
        image = blur.blur_or_not(
            planes,
            draws.blur_sigma,
            skip=draws.skip_blur,
            radius=radius,
            mixture=draws.mixture,
            **size,
        )
    if draws.solarize is None:
        return image
    return solarize_where(image, draws.solarize, draws.solarize_threshold)


def finetune_view(
    image: tf.Tensor, *, seed: tf.Tensor, image_size: int | Sequence[int]
) -> tf.Tensor:
    """Crop at random and flip, [h, w, c] -> [height, width, c] in [0, 1]."""
    image = tf.convert_to_tensor(image)
    window_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    view = _random_window(image, seed=window_seed, image_size=image_size)
    view = crop.random_flip(view, seed=flip_seed)
    return layout.clip(view * crop.unit_scale(image.dtype))


def eval_view(image: tf.Tensor, *, image_size: int | Sequence[int]) -> tf.Tensor:
    """Crop the centre and resize, [h, w, c] -> [height, width, c] in [0, 1].

    The window has the aspect of the view and 87.5 % of the largest possible side. For
    views whose larger side is up to 32 pixels the reference code crops nothing; we then
    still cut the largest window of that aspect out.
    """
    height, width = crop.height_and_width(image_size)
    view = crop.center_crop_and_resize(
        tf.convert_to_tensor(image),
        height=height,
        width=width,
        proportion=eval_proportion(image_size),
    )
    return layout.clip(view)


def squashed_view(image: tf.Tensor, *, image_size: int | Sequence[int]) -> tf.Tensor:
    """Squash the whole image to the view, [h, w, c] -> [height, width, c] in [0, 1].

    The geometry of the VOC07 benchmark (``crop.squash``): 256, then 224 x 224, and in
    that proportion at other sizes [ours]. Up to 32 pixels the first step goes to the
    view's own side [ours], as ``eval_view`` crops nothing there: a square image of that
    size stays as it is.
    """
    height, width = crop.height_and_width(image_size)
    view = crop.squash(
        tf.convert_to_tensor(image),
        height=height,
        width=width,
        proportion=eval_proportion(image_size),
    )
    return layout.clip(view)


def eval_proportion(image_size: int | Sequence[int]) -> float:
    """Return the side of ``eval_view``'s window as a part of the largest possible."""
    whole = max(crop.height_and_width(image_size)) <= NO_CENTER_CROP_UP_TO
    return 1.0 if whole else crop.EVAL_PROPORTION


def _random_window(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    image_size: int | Sequence[int],
    rules: ViewRules = PAPER,
) -> tf.Tensor:
    """Crop and resize, neither scaled nor clipped: the reference code clips last."""
    height, width = crop.height_and_width(image_size)
    begin, size = crop.sample_crop_window(
        tf.shape(image),
        seed=seed,
        aspect=width / height,
        area_range=rules.crop_area,
        aspect_limits=rules.crop_aspect,
    )
    return crop.resize_window(image, begin, size, height=height, width=width)


@functools.cache
def _tell_what_is_left_out(channels: int) -> None:
    if channels == 1:
        left_out = "jitter of hue and saturation and the colour drop are left out"
    else:
        left_out = (
            "jitter of hue and saturation is left out, and the colour drop takes the "
            "mean of the channels"
        )
    logger.warning("images of %d channel(s), not RGB: %s", channels, left_out)


@functools.cache
def warn_without_blur(height: int) -> None:
    """Warn once that views of so many rows cannot be blurred."""
    logger.warning("views of %d pixels are too small to be blurred", height)
