"""The views: which operations make a training, fine-tuning or evaluation image."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop

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
        image: [h, w, c], integers or floats in [0, 1].
        seed: int32 [2]; the views are a pure function of image and seed.
        image_size: side of the views.
        strength: of the colour jitter.
        use_blur: draw the Gaussian blur too.

    Returns:
        Two views, each [image_size, image_size, c] float32 in [0, 1].
    """
    image = tf.convert_to_tensor(image)
    seeds = tf.unstack(tf.random.split(seed, 2))
    first, second = (
        pretrain_view(
            image, seed=s, image_size=image_size, strength=strength, use_blur=use_blur
        )
        for s in seeds
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
    """Draw one pretraining view: crop, flip, colour, blur; see ``two_views``."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    image = tf.convert_to_tensor(image)
    view = _crop_and_flip(image, seeds[:2], image_size)
    view = color.random_color_distortion(view, seed=seeds[2], strength=strength)
    view = tf.clip_by_value(view, 0.0, 1.0)
    if use_blur:
        view = blur.random_gaussian_blur(view, seed=seeds[3])
    return view


def finetune_view(image: tf.Tensor, *, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Crop at random and flip, [h, w, c] -> [image_size, image_size, c] in [0, 1]."""
    image = tf.convert_to_tensor(image)
    view = _crop_and_flip(image, tf.unstack(tf.random.split(seed, 2)), image_size)
    return tf.clip_by_value(view, 0.0, 1.0)


def eval_view(image: tf.Tensor, *, image_size: int) -> tf.Tensor:
    """Crop the centre and resize, [h, w, c] -> [image_size, image_size, c] in [0, 1].

    The window has 87.5 % of the largest possible side. Up to 32 pixels the reference
    code crops nothing; we then still cut a square when the image is none.
    """
    whole = image_size <= NO_CENTER_CROP_UP_TO
    view = crop.center_crop_and_resize(
        tf.convert_to_tensor(image),
        height=image_size,
        width=image_size,
        proportion=1.0 if whole else crop.EVAL_PROPORTION,
    )
    return tf.clip_by_value(view, 0.0, 1.0)


def _crop_and_flip(
    image: tf.Tensor, seeds: list[tf.Tensor], image_size: int
) -> tf.Tensor:
    """Crop, resize and flip without a clip: the reference code clips at the end."""
    begin, size = crop.sample_crop_window(tf.shape(image), seed=seeds[0])
    view = crop.crop_and_resize(
        image, begin, size, height=image_size, width=image_size
    )
    return crop.random_flip(view, seed=seeds[1])
