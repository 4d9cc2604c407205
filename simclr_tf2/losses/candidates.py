"""Each projection against the projections of the other view, in all replicas."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from simclr_tf2.losses.nt_xent import local_and_all, replica_index


class Candidates(NamedTuple):
    """Similarities of the 2n local rows to the N rows of the other view.

    Attributes:
        similarity: ``[2n, N]`` float32 or float64; columns in the order of the global
            batch. Cosine of -1 to 1 with normalised rows, else dot product.
        positive: ``[2n]`` similarity of each row to the other view of its image; a
            column of ``similarity``, so that an equal negative compares as equal.
        is_positive: ``[2n, N]`` bool, True in that one column of each row.
    """

    similarity: tf.Tensor
    positive: tf.Tensor
    is_positive: tf.Tensor


def other_view(projections: tf.Tensor, *, normalize: bool) -> Candidates:
    """Return what every row is compared with by the losses that have no softmax.

    Negatives come from one view only, as in the paper's comparison of losses (SimCLR,
    section 5.1 and its footnote): here the view that the positive is from.

    Args:
        projections: ``[2n, d]``, view 1 rows then view 2 rows.
        normalize: L2-normalise the rows.

    Raises:
        ValueError: ``projections`` is not ``[2n, d]``.
    """
    z, columns, n = local_and_all(projections, normalize, temperature=1.0)
    width = z.shape[1]
    rows = tf.reshape(z, [2, n, width])
    by_view = tf.reshape(columns, [-1, 2, n, width])  # [replica, view, image, d]
    by_view = tf.reshape(tf.transpose(by_view, [1, 0, 2, 3]), [2, -1, width])
    similarity = tf.matmul(rows, by_view[::-1], transpose_b=True)  # [view, n, N]
    images = tf.shape(similarity)[2]
    own = tf.range(n) + replica_index() * n
    is_positive = tf.one_hot(own, images, on_value=True, off_value=False)
    is_positive = tf.tile(is_positive, [2, 1])
    similarity = tf.reshape(similarity, [2 * n, images])
    kept = tf.where(is_positive, similarity, tf.zeros_like(similarity))
    return Candidates(similarity, tf.reduce_sum(kept, axis=1), is_positive)


def mean_of_negatives(values: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """Average ``values`` ``[2n, N]`` over each row's N - 1 negatives, ``[2n]``.

    0 if there are none.
    """
    kept = tf.where(candidates.is_positive, tf.zeros_like(values), values)
    count = tf.cast(tf.shape(values)[1] - 1, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(kept, axis=1), count)


def semi_hard_negative(candidates: Candidates) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the most similar of the negatives that are less similar than the positive.

    Returns:
        Its similarity ``[2n]``, 0 without gradient if there is none, and whether there
        is one, bool ``[2n]``.
    """
    similarity, positive, is_positive = candidates
    allowed = ~is_positive & (similarity < positive[:, None])
    lowest = tf.fill(tf.shape(similarity), similarity.dtype.min)
    best = tf.reduce_max(tf.where(allowed, similarity, lowest), axis=1)
    found = tf.reduce_any(allowed, axis=1)
    return tf.where(found, best, tf.zeros_like(best)), found


def accuracy(candidates: Candidates) -> tf.Tensor:
    """Return the share of view 1 rows most similar to their own other view.

    As the metric of that name of ``nt_xent_and_metrics``: scalar, without gradient;
    among equal candidates the first in the global batch is chosen.
    """
    similarity, _, is_positive = candidates
    n = tf.shape(similarity)[0] // 2
    chosen = tf.argmax(tf.stop_gradient(similarity[:n]), axis=1)
    hit = tf.gather(is_positive[:n], chosen, batch_dims=1)
    return tf.reduce_mean(tf.cast(hit, similarity.dtype))
