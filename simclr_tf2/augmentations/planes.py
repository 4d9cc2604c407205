"""Images as three colour planes, the layout in which colour operations are cheap.

TensorFlow's own HSV kernels go pixel by pixel. On contiguous planes the same operations
are a handful of vectorised passes, and the way back is one small matrix product, in
which a mixture of the colours is free.
"""

from __future__ import annotations

import tensorflow as tf

EYE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
# ITU-R 601 luma, the weights of tf.image.rgb_to_grayscale, for each channel.
LUMA = ((0.2989, 0.587, 0.114),) * 3


def require_rgb(image: tf.Tensor) -> None:
    """Raise a ValueError unless the last axis is known to be three channels."""
    if image.shape[-1] != 3:
        raise ValueError(
            "colour operations need an image with 3 channels. "
            f"Received: shape {tuple(image.shape)}."
        )


def to_planes(image: tf.Tensor) -> tf.Tensor:
    """Lay out an image, [h, w, 3] float32, as planes, [3, h * w]."""
    require_rgb(image)
    pixels = tf.reshape(image, [-1, 3])
    planes = tf.stack(tf.unstack(pixels, axis=1))  # half the time of tf.transpose
    return tf.ensure_shape(planes, [3, image.shape[:2].num_elements()])


def to_image(
    planes: tf.Tensor,
    *,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    mixture: tf.Tensor | tuple = EYE,
) -> tf.Tensor:
    """Turn planes back into an image.

    Args:
        planes: [3, height * width] float32.
        height: rows.
        width: columns.
        mixture: [3, 3], new channel by old channel.

    Returns:
        [height, width, 3] float32.
    """
    pixels = tf.matmul(planes, mixture, transpose_a=True, transpose_b=True)
    return tf.reshape(pixels, [height, width, 3])


def clip(values: tf.Tensor) -> tf.Tensor:
    """Bring values into [0, 1] (ClipByValue is one operation, but not vectorised)."""
    return tf.maximum(tf.minimum(values, 1.0), 0.0)
