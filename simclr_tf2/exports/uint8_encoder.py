"""An encoder of uint8 images of any size: the view of evaluation is part of its graph.

Made of stock Keras operations only, so that ``keras.models.load_model`` needs nothing
of this library. Stock layers can neither cut a window out whose size follows from the
image nor resize as TensorFlow's ``ResizeBicubic``: both are products with a matrix of
weights for rows and one for columns, which the graph makes from the size of the image.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from simclr_tf2.augmentations import crop, policy

INPUT_NAME = "uint8_images"
_STEPS = 1024  # of the bicubic kernel, as TensorFlow's table has


def with_preprocessing(
    encoder: keras.Model, *, image_size: int | tuple[int, int], channels: int = 3
) -> keras.Model:
    """Put the crop, the resize and the scaling of an evaluation before an encoder.

    Args:
        encoder: Images [n, height, width, c] in [0, 1] -> h [n, d].
        image_size: Side of the view, or (height, width), that the encoder was trained
            with.
        channels: Channels of the images.

    Returns:
        A model of uint8 images [n, h, w, c], of one size a batch -> h [n, d]; equal to
        ``encoder`` of ``augmentations.eval_view`` but for rounding.
    """
    images = keras.Input((None, None, channels), dtype="uint8", name=INPUT_NAME)
    view = eval_view(images, image_size=image_size)
    return keras.Model(images, encoder(view), name=f"{encoder.name}_uint8")


def eval_view(
    images: keras.KerasTensor, *, image_size: int | tuple[int, int]
) -> keras.KerasTensor:
    """Apply ``augmentations.eval_view`` to a batch as a Keras graph.

    Args:
        images: uint8 [n, h, w, c].
        image_size: Side of the view, or (height, width).

    Returns:
        float32 [n, height, width, c] in [0, 1].
    """
    height, width = crop.height_and_width(image_size)
    whole = max(height, width) <= policy.NO_CENTER_CROP_UP_TO
    part = 1.0 if whole else crop.EVAL_PROPORTION
    ones = ops.cast(ops.ones_like(ops.take(images, 0, axis=0)), "float32")
    rows = ops.cumsum(ops.max(ones, axis=(1, 2))) - 1.0  # 0, 1, .. h - 1
    columns = ops.cumsum(ops.max(ones, axis=(0, 2))) - 1.0
    h, w = ops.max(rows) + 1.0, ops.max(columns) + 1.0
    aspect = width / height
    down = _weights(rows, h, part * ops.minimum(h, w / aspect), height)
    across = _weights(columns, w, part * ops.minimum(w, h * aspect), width)
    pixels = ops.cast(images, "float32") * (1.0 / 255.0)
    pixels = ops.einsum("nhwc,xw->nhxc", pixels, across)
    pixels = ops.einsum("nhxc,yh->nyxc", pixels, down)
    return ops.clip(pixels, 0.0, 1.0)


def _weights(
    places: keras.KerasTensor,
    length: keras.KerasTensor,
    window: keras.KerasTensor,
    size: int,
) -> keras.KerasTensor:
    """Return how much of each pixel of a line goes into each pixel of the result.

    The result is the resized window.

    Args:
        places: float32 [l], 0, 1, 2, ...
        length: l as float32.
        window: Pixels of the central window, float32; rounded here, at least 1.
        size: Pixels of the result.

    Returns:
        float32 [size, l]; each row sums to 1, and is 0 outside of the window.
    """
    window = ops.minimum(ops.maximum(ops.round(window), 1.0), length)
    within = places - ops.floor((length - window + 1.0) / 2.0)
    centers = np.arange(size, dtype=np.float32) + np.float32(0.5)
    target = ops.multiply(centers, window / float(size)) - 0.5
    first = ops.floor(target)
    target = first + ops.round((target - first) * _STEPS) / _STEPS
    x = ops.absolute(ops.expand_dims(within, 0) - ops.expand_dims(target, 1))
    near = (1.5 * x - 2.5) * x * x + 1.0  # Keys's cubic, a = -0.5
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = ops.where(x <= 1.0, near, ops.where(x < 2.0, far, 0.0))
    inside = ops.logical_and(within >= 0.0, within < window)
    weights = ops.where(ops.expand_dims(inside, 0), weights, 0.0)
    return weights / ops.sum(weights, axis=1, keepdims=True)
