"""Encoded image files to the views that a network is evaluated on, as a graph."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.augmentations import eval_view
from simclr_tf2.data import datasets, image_files

CHANNELS = datasets.ENCODED_CHANNELS


def decoded_views(
    contents: tf.Tensor, *, image_size: int | tuple[int, int], channels: int
) -> tf.Tensor:
    """Decode image files and apply the view of evaluation to each.

    EXIF orientation is not applied.

    Args:
        contents: string ``[n]``, JPEG, PNG, GIF or BMP files of any size.
        image_size: Side of a view, or (height, width).
        channels: c; 1, 3 or 4.

    Returns:
        float32 ``[n, height, width, c]`` in [0, 1].
    """

    def view(content: tf.Tensor) -> tf.Tensor:
        pixels = image_files.decode_usual(content, channels=channels)
        return tf.cast(eval_view(pixels, image_size=image_size), tf.float32)

    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    spec = tf.TensorSpec([*sides, channels], tf.float32)
    return tf.map_fn(view, contents, fn_output_signature=spec)
