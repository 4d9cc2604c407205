"""Images as colour planes, the layout in which colour operations are cheap.

TensorFlow's own HSV kernels go pixel by pixel. On contiguous planes the same operations
are a handful of vectorised passes, and the way back is one small matrix product, in
which a mixture of the channels is free.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# ITU-R 601 luma, the weights of tf.image.rgb_to_grayscale, for each channel.
LUMA = ((0.2989, 0.587, 0.114),) * 3


def require_channels(image: tf.Tensor) -> int:
    """Return the number of channels, the last axis; it must be known beforehand."""
    channels: int | None = image.shape[-1]
    if channels is None or channels < 1:
        raise ValueError(
            "the number of channels of an image must be known when the pipeline is "
            "built; set it with tf.ensure_shape(image, [None, None, channels]). "
            f"Received: shape {image.shape}."
        )
    return channels


def identity(channels: int) -> np.ndarray:
    """Return a mixture that leaves the channels alone, [channels, channels]."""
    return np.eye(channels, dtype=np.float32)


def gray_mixture(channels: int) -> np.ndarray:
    """Return a mixture that drops the colour, [channels, channels], all rows alike.

    Three channels are red, green and blue and become luma. Others have no agreed
    meaning and become their mean (ours), a millionth less so that rounding never takes
    it beyond 1; one channel stays what it is.
    """
    if channels == 1:
        return identity(1)
    if channels == 3:
        return np.array(LUMA, np.float32)
    return np.full([channels, channels], (1.0 - 1e-6) / channels, np.float32)


def to_planes(image: tf.Tensor) -> tf.Tensor:
    """Lay out an image, [h, w, c] float32, as planes, [c, h * w]."""
    channels = require_channels(image)
    pixels = tf.reshape(image, [-1, channels])
    planes = tf.stack(tf.unstack(pixels, axis=1))  # half the time of tf.transpose
    return tf.ensure_shape(planes, [channels, image.shape[:2].num_elements()])


def to_image(
    planes: tf.Tensor,
    *,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    mixture: tf.Tensor | np.ndarray | None = None,
) -> tf.Tensor:
    """Turn planes back into an image.

    Args:
        planes: [c, height * width] float32.
        height: rows.
        width: columns.
        mixture: [c, c], new channel by old channel; None is the identity.

    Returns:
        [height, width, c] float32.
    """
    channels = planes.shape[0]
    mixture = identity(channels) if mixture is None else mixture
    pixels = tf.matmul(planes, mixture, transpose_a=True, transpose_b=True)
    return tf.reshape(pixels, [height, width, channels])


def clip(values: tf.Tensor) -> tf.Tensor:
    """Bring values into [0, 1] (ClipByValue is one operation, but not vectorised)."""
    return tf.maximum(tf.minimum(values, 1.0), 0.0)
