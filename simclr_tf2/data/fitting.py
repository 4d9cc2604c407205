"""Settings fitted to a user's own images: what scan suggests and pretraining takes."""

from __future__ import annotations

import math

# Sizes worth suggesting: those of the paper's CIFAR-10 (appendix B.9) and ImageNet
# recipes, and two that STL-10 and Tiny ImageNet use.
IMAGE_SIZES = (32, 64, 96, 224)
BATCH_SIZES = (4096, 2048, 1024, 512, 256, 128, 64, 32, 16)
LARGEST_BATCH = 512  # the default
STEPS_PER_EPOCH = 4  # [ours] at least
BLUR_ABOVE = 32  # pixels; the paper leaves blur out on CIFAR-10 (appendix B.9)
VALID_SIZE = 0.05  # [ours] of images without labels
LEAST_VALID_IMAGES = 20  # [ours] fewer say too little


def image_size(height: float, width: float, *, most: float = math.inf) -> int:
    """Return the largest usual side that enlarges no typical image.

    Args:
        height: Of a typical image (the median), in pixels.
        width: Of a typical image (the median), in pixels.
        most: The side is no larger.

    Returns:
        One of ``IMAGE_SIZES``; the smallest for images that are smaller still.
    """
    shorter = min(height, width, most)
    return max((s for s in IMAGE_SIZES if s <= shorter), default=IMAGE_SIZES[0])


def use_blur(height: int, width: int) -> bool:
    """Return whether views of this size are blurred: one side is large enough."""
    return max(height, width) > BLUR_ABOVE


def batch_size(
    num_images: int,
    *,
    replicas: int = 1,
    most: int = LARGEST_BATCH,
    steps_per_epoch: int = STEPS_PER_EPOCH,
) -> int:
    """Return the largest usual batch that makes ``steps_per_epoch`` steps an epoch.

    Args:
        num_images: Images to train on.
        replicas: The batch is a multiple of it, where there are so many images.
        most: The batch is no larger.
        steps_per_epoch: Least number of steps.

    Returns:
        The batch; 16, or all images, where no usual batch makes so many steps.
    """
    usual = (b for b in BATCH_SIZES if b <= most)
    fitting = (b for b in usual if b * steps_per_epoch <= num_images)
    batch = next(fitting, min(num_images, BATCH_SIZES[-1]))
    return max(batch // replicas * replicas, 1)


def valid_size(num_images: int, *, labelled: bool) -> float:
    """Return the part of the images to hold out: 0.05 of enough without labels.

    Args:
        num_images: Images of the training split.
        labelled: Whether they have labels, on which the encoder is scored anyway.
    """
    enough = VALID_SIZE * num_images >= LEAST_VALID_IMAGES
    return VALID_SIZE if enough and not labelled else 0.0


def left_to_train_on(num_images: int, valid_size: float) -> int:
    """Return how many images are trained on where a part of them is held out."""
    return num_images - round(valid_size * num_images)
