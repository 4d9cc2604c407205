"""Augmentations: tensor -> tensor, explicit seed, one example at a time."""

import tensorflow as tf

from simclr_tf2.augmentations.backends import BACKENDS, ViewBackend
from simclr_tf2.augmentations.blur import random_gaussian_blur
from simclr_tf2.augmentations.color import random_color_jitter, to_grayscale
from simclr_tf2.augmentations.crop import (
    LOCAL_AREA_RANGE,
    random_flip,
    random_resized_crop,
)
from simclr_tf2.augmentations.describe import describe_view
from simclr_tf2.augmentations.erase import cutout
from simclr_tf2.augmentations.fused import is_available as numba_is_available
from simclr_tf2.augmentations.fused import makes
from simclr_tf2.augmentations.noise import gaussian_noise
from simclr_tf2.augmentations.on_device import finish_batch
from simclr_tf2.augmentations.policy import (
    eval_view,
    finetune_view,
    pretrain_view,
    squashed_view,
    two_views,
    views,
)
from simclr_tf2.augmentations.rotate import random_rotation
from simclr_tf2.augmentations.rules import ViewRules
from simclr_tf2.augmentations.sampling import view_seeds
from simclr_tf2.augmentations.sobel import sobel_edges


def _crop(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    height, width, _ = image.shape
    return random_resized_crop(image, seed=seed, height=height, width=width)


def _crop_and_flip(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    return random_flip(_crop(image, seed=crop_seed), seed=flip_seed)


def _grayscale(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return to_grayscale(image)


def _original(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return image


def _sobel(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    del seed
    return sobel_edges(image)


# The ten pictures of the paper's figure 4, each applied always: operation(image, seed=)
# from [s, s, c] float32 in [0, 1] to the same.
OPERATIONS = {
    "original": _original,
    "crop": _crop,
    "crop_flip": _crop_and_flip,
    "grayscale": _grayscale,
    "color": random_color_jitter,
    "rotate": random_rotation,
    "cutout": cutout,
    "noise": gaussian_noise,
    "blur": random_gaussian_blur,
    "sobel": _sobel,
}

__all__ = [
    "BACKENDS",
    "LOCAL_AREA_RANGE",
    "OPERATIONS",
    "ViewBackend",
    "ViewRules",
    "describe_view",
    "eval_view",
    "finetune_view",
    "finish_batch",
    "makes",
    "numba_is_available",
    "pretrain_view",
    "squashed_view",
    "two_views",
    "view_seeds",
    "views",
]
