"""A batch of views in equal parts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_tf2.errors import ConfigError


class MicroBatches:
    """A batch in equal parts, all views of an image in one part.

    Args:
        batch: ``{"views": ([n, s, s, c], ..), "label": [n]}``, n known when traced.
        size: Images of a part; divides n.

    Attributes:
        count: Micro-batches.
        rows: Rows of a micro-batch: all views of its images.

    Raises:
        ConfigError: n is unknown or no multiple of ``size``.
    """

    def __init__(self, batch: dict[str, Any], size: int) -> None:
        images = batch["views"][0].shape[0]
        if images is None:
            raise ConfigError("--micro_batch_size needs batches of one fixed size")
        if images % size:
            raise ConfigError(
                f"--micro_batch_size={size} must divide the {images} images of a "
                "replica's batch; use a divisor"
            )
        self._batch, self._size = batch, size
        self._views = len(batch["views"])
        self.count, self.rows = images // size, size * self._views

    def images(self, index: tf.Tensor) -> tf.Tensor:
        """Return ``[views * size, s, s, c]``, view 1 first, as in ``pretrain_step``."""
        return tf.concat([self._cut(v, index) for v in self._batch["views"]], axis=0)

    def labels(self, index: tf.Tensor) -> tf.Tensor:
        """Return ``[views * size]`` labels for the rows of ``images``."""
        return tf.tile(self._cut(self._batch["label"], index), [self._views])

    def join(self, rows: tf.Tensor) -> tf.Tensor:
        """Turn ``[count, views * size, d]`` into ``[views * n, d]``, in batch order."""
        d = rows.shape[-1]
        rows = tf.reshape(rows, [self.count, self._views, self._size, d])
        return tf.reshape(tf.transpose(rows, [1, 0, 2, 3]), [-1, d])

    def split(self, rows: tf.Tensor) -> tf.Tensor:
        """Undo ``join``."""
        d = rows.shape[-1]
        rows = tf.reshape(rows, [self._views, self.count, self._size, d])
        rows = tf.transpose(rows, [1, 0, 2, 3])
        return tf.reshape(rows, [self.count, self.rows, d])

    def _cut(self, rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        # A slice, not a gather from a reshaped batch: only this part is copied.
        begin = [index * self._size] + [0] * (rows.shape.rank - 1)
        part = tf.slice(rows, begin, [self._size, *rows.shape[1:]])
        return tf.ensure_shape(part, [self._size, *rows.shape[1:]])
