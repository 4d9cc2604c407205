"""NT-Xent in blocks: the numbers of ``nt_xent`` in memory linear in the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.losses.bands import Bands, similarities
from simclr_tf2.losses.nt_xent import (
    hits_and_entropy,
    is_bounded,
    local_and_all,
    nt_xent,
    nt_xent_and_metrics,
    replica_index,
    replicas,
    second_views,
)

BlockSize = int | Literal["auto"] | None

AUTO_BLOCK_ROWS = 512
# "auto" uses blocks from this many similarities [2n, 2N] on; see benchmarks/loss.py.
AUTO_FROM_ELEMENTS = 1024 * 1024


def blockwise_nt_xent(
    projections: tf.Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    block_size: BlockSize = "auto",
) -> tf.Tensor:
    """Return ``nt_xent`` without holding the ``[2n, 2N]`` similarities.

    About ``3 * 2n * block_size`` numbers are held at once, and the similarities are
    computed a second time for the gradient. Those of the local rows are symmetric, so
    that each is computed once for both directions. Replicas exchange their projections
    and, for the gradient, two numbers per row instead of a gradient per column. First
    derivatives only.

    Args:
        projections: ``[2n, d]`` as in ``nt_xent``; n known when traced, unless the
            plain form is used.
        temperature: Greater than 0.
        normalize: L2-normalise the rows (cosine similarity); False compares by dot
            product.
        block_size: Most rows of a block, at least 1; None: the plain form; "auto": the
            plain form where that is as fast, else blocks of 512 rows.

    Returns:
        Scalar float32 (float64 for float64 input).

    Raises:
        ValueError: As ``nt_xent``, or ``block_size`` is none of these, or n is unknown.
    """
    size = _block_rows(projections, block_size)
    if size is None:
        return nt_xent(projections, temperature=temperature, normalize=normalize)
    z, columns, n = local_and_all(projections, normalize, temperature)
    bands = Bands.of(n, block_size=size, replicas=replicas())
    return _loss(z, columns, bands, temperature, normalize)


def blockwise_nt_xent_and_metrics(
    projections: tf.Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    block_size: BlockSize = "auto",
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return ``nt_xent_and_metrics``, in blocks; see ``blockwise_nt_xent``.

    The metrics compare one block of view 1 at a time with all N rows of view 2.
    """
    size = _block_rows(projections, block_size)
    if size is None:
        return nt_xent_and_metrics(
            projections, temperature=temperature, normalize=normalize
        )
    z, columns, n = local_and_all(projections, normalize, temperature)
    bands = Bands.of(n, block_size=size, replicas=replicas())
    loss = _loss(z, columns, bands, temperature, normalize)
    candidates = tf.stop_gradient(second_views(columns, n))
    view1 = bands.cut(tf.stop_gradient(z))[0, : bands.blocks]
    labels = tf.range(n, dtype=tf.int32) + replica_index() * n
    labels = bands.cut(tf.concat([labels, labels], 0))[0, : bands.blocks]

    def block(rows_and_labels: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        rows, own = rows_and_labels
        hit, entropy = hits_and_entropy(rows, candidates, own, temperature)
        return tf.stack([hit, entropy], axis=-1)

    each = tf.map_fn(
        block, (view1, labels), fn_output_signature=z.dtype, parallel_iterations=1
    )
    mean = tf.reduce_mean(tf.reshape(each, [-1, 2])[:n], axis=0)
    return loss, {"contrastive_accuracy": mean[0], "contrastive_entropy": mean[1]}


def _block_rows(projections: Any, block_size: BlockSize) -> int | None:
    """Return the rows of a block, or None for the plain form."""
    if block_size is None:
        return None
    shape = tf.convert_to_tensor(projections).shape
    if block_size == "auto":
        if shape.rank != 2 or shape[0] is None:
            return None
        elements = replicas() * shape[0] ** 2
        return AUTO_BLOCK_ROWS if elements >= AUTO_FROM_ELEMENTS else None
    if isinstance(block_size, bool) or not isinstance(block_size, int):
        raise ValueError(
            f'block_size must be None, "auto" or an integer. Received: {block_size!r}.'
        )
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1. Received: {block_size}.")
    if shape.rank == 2 and shape[0] is None:
        raise ValueError(
            "block_size needs a batch size that is known when traced; "
            "use block_size=None."
        )
    return block_size


def _loss(
    z: tf.Tensor, columns: tf.Tensor, bands: Bands, temperature: float, normalize: bool
) -> tf.Tensor:
    """Return the mean loss over the local rows.

    The gradient that goes to ``z`` is that of all replicas' losses.
    """
    bounded = is_bounded(temperature, normalize)
    columns = bands.cut(_own_first(tf.stop_gradient(columns), bands))
    exists = bands.cut(tf.ones([2 * bands.images * bands.replicas], z.dtype))

    @tf.custom_gradient
    def loss(z: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        rows = bands.cut(z)[0] / temperature
        total, log_sum = _negatives(rows, columns, exists, bands, bounded)
        partner = bands.other_view(columns[0])
        # See nt_xent for log(1 + e^(negative - positive)).
        excess = bands.join(log_sum - tf.reduce_sum(rows * partner, axis=2))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            pull = upstream * tf.sigmoid(excess) / (2 * bands.images)
            own = bands.join(total if bounded else log_sum)
            # What each row gives as a column to the losses of other replicas is
            # computed here, from their two numbers per row.
            everyone = distribution.all_gather(tf.stack([pull, own], axis=1))
            everyone = tf.reshape(everyone, [bands.replicas * 2 * bands.images, 2])
            pulls, totals = tf.unstack(_own_first(everyone, bands), axis=1)
            scales = (bands.cut(pulls), bands.cut(totals))
            pushed = _pushes(rows, columns, scales, bands, bounded)
            both = scales[0][0] + bands.other_view(scales[0][0])
            return bands.join(pushed - both[:, :, None] * partner) / temperature

        return tf.reduce_mean(tf.math.softplus(excess)), gradient

    return loss(z)


def _negatives(
    rows: tf.Tensor, columns: tf.Tensor, exists: tf.Tensor, bands: Bands, bounded: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the sum of exp over each row's negatives and its logarithm, ``[K, b]``.

    The sum is relative to the row's maximum unless ``bounded``.

    Args:
        rows: ``[K, b, d]`` over the temperature.
        columns: ``[R, K, b, d]``, the own first.
        exists: ``[R, K, b]``, 0 for padding.
        bands: The blocks.
        bounded: Similarities are small enough for exp as they are.
    """
    real = exists[0]

    def bounded_visit(
        state: tuple,
        columns: Sequence[tf.Tensor],
        offset: int,
        masked: bool,
        shared: bool,
    ) -> tuple:
        (total,) = state
        exp = tf.exp(similarities(rows, columns[0], masked))
        total += tf.linalg.matvec(exp, columns[1])
        if shared:
            down = tf.matmul(real[:, None, :], exp)[:, 0]
            total += tf.roll(down, offset, axis=0)
        return (total,)

    def visit(
        state: tuple,
        columns: Sequence[tf.Tensor],
        offset: int,
        masked: bool,
        shared: bool,
    ) -> tuple:
        band = similarities(rows, columns[0], masked)
        if bands.padded:  # far below every similarity, also when two of them meet
            floor = band.dtype.min / 8
            band += floor * (1 - real)[:, :, None] + floor * (1 - columns[1])[:, None]
        state = _absorb(state, band, 2, 0)
        return _absorb(state, band, 1, offset) if shared else state

    zero = tf.zeros_like(real)
    if bounded:
        (total,) = bands.visit_all(bounded_visit, (zero,), (columns, exists))
        return total, tf.math.log(total)
    lowest = tf.fill(tf.shape(real), real.dtype.min)
    maximum, total = bands.visit_all(visit, (lowest, zero), (columns, exists))
    return total, tf.math.log(total) + maximum


def _absorb(state: Any, band: tf.Tensor, axis: int, offset: Any) -> Any:
    """Add a band to (maximum, sum relative to it) of the rows or, rolled, columns."""
    maximum, total = state
    highest = tf.roll(tf.reduce_max(band, axis=axis), offset, axis=0)
    new = tf.maximum(maximum, highest)
    shift = tf.expand_dims(tf.roll(new, -offset, axis=0), axis)
    added = tf.reduce_sum(tf.exp(band - shift), axis=axis)
    return new, total * tf.exp(maximum - new) + tf.roll(added, offset, axis=0)


def _pushes(
    rows: tf.Tensor, columns: tf.Tensor, scales: Any, bands: Bands, bounded: bool
) -> tf.Tensor:
    """Return all other rows ``[K, b, d]``, weighted by how much both of a pair repel.

    Args:
        rows: ``[K, b, d]`` over the temperature.
        columns: ``[R, K, b, d]``, the own first.
        scales: Derivative of the losses by each row's log-sum-exp, and what belongs to
            it: the sum if ``bounded``, else the log-sum-exp; ``[R, K, b]`` each.
        bands: The blocks.
        bounded: Similarities are small enough for exp as they are.
    """
    if bounded:
        scales = (tf.math.divide_no_nan(*scales),)
    own_rows, own = columns[0], [scale[0] for scale in scales]

    def visit(
        pushed: tuple,
        columns: Sequence[tf.Tensor],
        offset: int,
        masked: bool,
        shared: bool,
    ) -> tuple:
        others, *theirs = columns
        band = similarities(rows, others, masked)
        if bounded:
            weights = tf.exp(band) * (own[0][:, :, None] + theirs[0][:, None, :])
        else:
            weights = _softmax(band, *(x[:, :, None] for x in own))
            weights += _softmax(band, *(x[:, None, :] for x in theirs))
        pushed += tf.matmul(weights, others)
        if shared:
            down = tf.matmul(weights, own_rows, transpose_a=True)
            pushed += tf.roll(down, offset, axis=0)
        return pushed

    return bands.visit_all(visit, tf.zeros_like(rows), (columns, *scales))


def _softmax(band: tf.Tensor, scale: tf.Tensor, log_sum: tf.Tensor) -> tf.Tensor:
    # No similarity is above its log-sum-exp but those of padding, which must be finite.
    return scale * tf.exp(tf.minimum(band - log_sum, 0))


def _own_first(rows: tf.Tensor, bands: Bands) -> tf.Tensor:
    """Turn ``[R * 2n, ...]`` so that this replica's rows are the first 2n."""
    if bands.replicas == 1:
        return rows
    return tf.roll(rows, -replica_index() * 2 * bands.images, axis=0)
