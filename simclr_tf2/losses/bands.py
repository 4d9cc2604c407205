"""The similarities of all rows, a band of blocks at a time; symmetric ones once.

The 2n local rows are cut into K blocks of b rows, an even number, as many for view 1 as
for view 2. Band s holds the K blocks ``similarity(block i, block i + s mod K)``: one
batched product of static shape. In band 0 the diagonals are each row with itself, in
band K/2 each row with its other view. Bands 1 to K/2 - 1, read both ways, are all other
local pairs. Rows of other replicas are columns of further bands, read one way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# (state, columns, offset, masked, shared) -> state
Visit = Callable[[Any, Any, Any, bool, bool], Any]


@dataclass(frozen=True)
class Bands:
    """Division of rows into equal blocks.

    Attributes:
        images: n, local images.
        blocks: Blocks of one view; K is twice that.
        rows: b, rows of a block.
        replicas: R.
    """

    images: int
    blocks: int
    rows: int
    replicas: int

    @classmethod
    def of(cls, images: int, *, block_size: int, replicas: int) -> Bands:
        """Cut equal blocks of at most ``block_size`` rows: next to no padding."""
        blocks = -(-images // block_size)
        return cls(images, blocks, -(-images // blocks), replicas)

    @property
    def padded(self) -> bool:
        """Whether some rows of the blocks stand for no image."""
        return self.blocks * self.rows != self.images

    def cut(self, rows: tf.Tensor) -> tf.Tensor:
        """Cut ``[R * 2n, ...]`` to ``[R, K, b, ...]``, zeros where no image is."""
        rest = rows.shape[1:].as_list()
        by_view = tf.reshape(rows, [-1, self.images, *rest])
        pad = self.blocks * self.rows - self.images
        by_view = tf.pad(by_view, [[0, 0], [0, pad]] + [[0, 0]] * len(rest))
        return tf.reshape(by_view, [-1, 2 * self.blocks, self.rows, *rest])

    def join(self, blocks: tf.Tensor) -> tf.Tensor:
        """Join ``[K, b, ...]`` to ``[2n, ...]``, which undoes ``cut``."""
        rest = blocks.shape[2:].as_list()
        by_view = tf.reshape(blocks, [2, self.blocks * self.rows, *rest])
        return tf.reshape(by_view[:, : self.images], [2 * self.images, *rest])

    def other_view(self, blocks: tf.Tensor) -> tf.Tensor:
        """Exchange the views in ``[K, b, ...]``."""
        return tf.roll(blocks, self.blocks, axis=0)

    def visit_all(self, visit: Visit, state: Any, columns: Any) -> Any:
        """Fold ``visit`` over all bands, one in memory at a time.

        Args:
            visit: Takes the state, the columns of a band ``[K, b, ...]``, its offset,
                whether its diagonals are to be masked, and whether it stands for the
                transposed pairs too, whose results have to move by the offset.
            state: Tensors.
            columns: Tensors ``[R, K, b, ...]``, the own replica's first.
        """
        count = 2 * self.blocks

        def at(replica: Any, offset: Any) -> Any:
            return tf.nest.map_structure(
                lambda x: tf.roll(x[replica], -offset, axis=0), columns
            )

        def shared(offset: tf.Tensor, state: Any) -> Any:
            return visit(state, at(0, offset), offset, False, True)

        def remote(band: tf.Tensor, state: Any) -> Any:
            offset = band % count
            return visit(state, at(band // count, offset), offset, False, False)

        for offset in (0, self.blocks):
            state = visit(state, at(0, offset), offset, True, False)
        state = _loop(1, self.blocks, shared, state)
        return _loop(count, self.replicas * count, remote, state)


def similarities(rows: tf.Tensor, columns: tf.Tensor, masked: bool) -> tf.Tensor:
    """Return ``[K, b, b]`` dot products; the lowest number on masked diagonals."""
    band = tf.matmul(rows, columns, transpose_b=True)
    if not masked:
        return band
    return tf.linalg.set_diag(band, tf.fill(rows.shape[:2], band.dtype.min))


def _loop(
    first: int, end: int, body: Callable[[tf.Tensor, Any], Any], state: Any
) -> Any:
    if first >= end:
        return state
    _, state = tf.while_loop(
        lambda i, _: i < end,
        lambda i, state: (i + 1, body(i, state)),
        (tf.constant(first), state),
        parallel_iterations=1,
        maximum_iterations=end - first,
    )
    return state
