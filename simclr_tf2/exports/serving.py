"""classifier_saved_model/STEP: image files as bytes -> probabilities, for servers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2.exports import encoded_images
from simclr_tf2.exports.hub import write_numbered


class ServingClassifier(tf.Module):
    """Module of encoded images: JPEG, PNG, GIF or BMP files as bytes.

    EXIF orientation is not applied: turn such pictures before they are sent.
    """

    def __init__(
        self,
        classifier: keras.Model,
        *,
        image_size: int | tuple[int, int],
        channels: int,
        class_names: Sequence[str],
    ) -> None:
        """Join decoding, the view of evaluation and the classifier.

        Args:
            classifier: Images ``[n, h, w, c]`` in [0, 1] -> probabilities ``[n, k]``.
            image_size: Side of the view, or (height, width).
            channels: c; 1, 3 or 4.
            class_names: k names.
        """
        super().__init__()
        self._classifier = classifier
        self._size = image_size
        self._channels = channels
        self._names = tf.constant(list(class_names))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Map files ``[n]`` to ``label`` ``[n]``, ``classes`` and ``probabilities``."""
        views = encoded_images.decoded_views(
            image_bytes, image_size=self._size, channels=self._channels
        )
        probabilities = self._classifier(views, training=False)
        shape = tf.shape(probabilities)
        return {
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=1)),
            "classes": tf.broadcast_to(self._names, shape),
            "probabilities": probabilities,
        }


def save_serving_classifier(
    module: ServingClassifier, folder: str | os.PathLike, *, step: int, keep: int
) -> Path:
    """Write ``folder/STEP`` and drop all but the newest ``keep`` (0: none)."""
    signature = module.serve.get_concrete_function()
    return write_numbered(module, folder, signature, step=step, keep=keep)
