"""NT-Xent: the normalised temperature-scaled cross-entropy of SimCLR."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_tf2 import distribution

# Cosine similarities over this temperature are at most 40: exp of them is between
# 4e-18 and 3e17, and float32 sums of 2N of those neither overflow nor vanish.
_LOWEST_BOUNDED_TEMPERATURE = 1 / 40


def nt_xent(
    projections: tf.Tensor, *, temperature: float = 0.1, normalize: bool = True
) -> tf.Tensor:
    """Return the contrastive loss of a batch of pairs (SimCLR, algorithm 1).

    Row i and row n + i are the two views of image i. Each of the 2n rows has to tell
    its other view from the 2N - 2 views of other images; the loss is the mean over the
    2n rows of the cross-entropy over those 2N - 1 columns. This is the paper's scale:
    the reference code reports the sum of both directions, which is twice as much.
    Knowing nothing costs ln(2N - 1).

    In a replica context of a ``tf.distribute`` strategy the columns of all replicas
    count (N = replicas * n) and the loss is the mean over the local rows, so that the
    mean over replicas is the loss of the joined batch. Gradients flow through the
    gathered columns: divide the loss by the number of replicas once, sum the gradients
    over replicas, and the update is that of one device with the joined batch.

    Args:
        projections: ``[2n, d]`` floating point, view 1 rows then view 2 rows. Computed
            in float32 (float64 input: in float64) under any precision policy.
        temperature: Greater than 0; the paper's best are 0.1 on ImageNet, 0.5 on
            CIFAR-10 (SimCLR, section 5.2 and appendix B.9).
        normalize: L2-normalise the rows (cosine similarity) as the paper does; False
            compares by dot product.

    Returns:
        Scalar float32 (float64 for float64 input).

    Raises:
        ValueError: ``projections`` is not ``[2n, d]``, or ``temperature`` is not
            positive.
    """
    z, columns, n = local_and_all(projections, normalize, temperature)
    return _loss(z, columns, n, temperature, normalize)


def nt_xent_and_metrics(
    projections: tf.Tensor, *, temperature: float = 0.1, normalize: bool = True
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return ``nt_xent`` and how well view 1 finds view 2; same arguments.

    The metrics follow the reference code, for the n local rows of view 1 against all N
    rows of view 2, without gradient:

    - ``contrastive_accuracy``: share of rows whose most similar candidate is their own
      other view; among equal candidates the first in the global batch is chosen.
    - ``contrastive_entropy``: mean entropy in nats of the softmax over candidates, from
      0 to ln N.
    """
    z, columns, n = local_and_all(projections, normalize, temperature)
    loss = _loss(z, columns, n, temperature, normalize)
    view1 = tf.stop_gradient(z[:n])
    candidates = tf.stop_gradient(second_views(columns, n))
    labels = tf.range(n) + replica_index() * n
    hit, entropy = hits_and_entropy(view1, candidates, labels, temperature)
    return loss, {
        "contrastive_accuracy": tf.reduce_mean(hit),
        "contrastive_entropy": tf.reduce_mean(entropy),
    }


def hits_and_entropy(
    view1: tf.Tensor, candidates: tf.Tensor, labels: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the metrics of each row ``[m, d]`` of view 1, ``[m]``: 0 or 1, and nats.

    Args:
        view1: Rows.
        candidates: ``[N, d]`` view 2 of all replicas.
        labels: ``[m]`` int32, which candidate is a row's other view.
        temperature: Greater than 0.
    """
    logits = tf.matmul(view1 / temperature, candidates, transpose_b=True)
    hit = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    p = tf.nn.softmax(logits)
    # 1e-8 inside the logarithm is the reference code's.
    entropy = -tf.reduce_sum(p * tf.math.log(p + 1e-8), axis=1)
    return tf.cast(hit, view1.dtype), entropy


def local_and_all(
    projections: tf.Tensor, normalize: bool, temperature: float
) -> tuple[tf.Tensor, tf.Tensor, int | tf.Tensor]:
    """Return the local rows ``[2n, d]``, all replicas' rows ``[2N, d]``, and n."""
    z = tf.convert_to_tensor(projections)
    if z.shape.rank != 2 or (z.shape[0] or 0) % 2:
        raise ValueError(
            "projections must be [2n, d]: the rows of view 1, then those of view 2. "
            f"Received: shape {z.shape}."
        )
    if not temperature > 0:
        raise ValueError(
            f"temperature must be greater than 0. Received: {temperature}."
        )
    if z.dtype != tf.float64:
        z = tf.cast(z, tf.float32)
    if normalize:
        z = tf.math.l2_normalize(z, axis=-1)  # epsilon 1e-12, as the reference code
    rows = z.shape[0] if z.shape[0] is not None else tf.shape(z)[0]
    # The gather forgets its shape; replicas with unequal shares fail here.
    everything = [replicas() * rows, z.shape[1]]
    columns = tf.reshape(distribution.all_gather(z), everything)
    return z, columns, rows // 2


def _loss(
    z: tf.Tensor,
    columns: tf.Tensor,
    n: int | tf.Tensor,
    temperature: float,
    normalize: bool,
) -> tf.Tensor:
    scaled = z / temperature
    positive = tf.reduce_sum(scaled[:n] * z[n:], axis=1)
    if replicas() > 1:  # own rows first: fixed places to mask
        columns = tf.roll(columns, -replica_index() * 2 * n, axis=0)
    bounded = is_bounded(temperature, normalize)
    negative = _negatives_log_sum_exp(scaled, columns, n, bounded)
    # -log(e^pos / (e^pos + sum e^neg)) = log(1 + e^(neg - pos)): exact for losses
    # near 0, where the difference of two logarithms loses all digits.
    return tf.reduce_mean(tf.math.softplus(negative - tf.tile(positive, [2])))


def is_bounded(temperature: float, normalize: bool) -> bool:
    """Return whether exp of every similarity / temperature is far from overflow."""
    return normalize and temperature >= _LOWEST_BOUNDED_TEMPERATURE


def _negatives_log_sum_exp(
    rows: tf.Tensor, columns: tf.Tensor, n: int | tf.Tensor, bounded: bool
) -> tf.Tensor:
    """Return log-sum-exp over each row's negatives, ``[2n]``; first derivatives only.

    Args:
        rows: ``[2n, d]`` both views of the local images, over the temperature.
        columns: ``[2N, d]`` all rows, of which the first 2n are the local ones; row i
            leaves out columns i mod n and n + i mod n: itself and its other view.
        n: Local images. With N = 1 there are no negatives: no gradient, and -inf or
            the lowest number of the type.
        bounded: Similarities are small enough for exp without taking off the maximum.
    """

    @tf.custom_gradient
    def log_sum_exp(rows: tf.Tensor, columns: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        weights, maximum = _negatives_exp(rows, columns, n, bounded)
        total = tf.reduce_sum(weights, axis=1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Softmax over negatives is weights / total; that scale goes onto the thin
            # factors, so the [2n, 2N] matrix is only read, by two products. (d, 2N)
            # transposed afterwards is faster on CPU than transposing the matrix.
            scale = tf.math.divide_no_nan(upstream, total)[:, None]
            to_rows = scale * tf.matmul(weights, columns)
            to_columns = tf.matmul(scale * rows, weights, transpose_a=True)
            return to_rows, tf.transpose(to_columns)

        return tf.math.log(total) + maximum, gradient

    return log_sum_exp(rows, columns)


def _negatives_exp(
    rows: tf.Tensor, columns: tf.Tensor, n: int | tf.Tensor, bounded: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return ``exp(similarity - shift)`` ``[2n, 2N]`` and the shift.

    The exponential is 0 for a row's own column and its other view's.

    The shift is each row's maximum ``[2n]``, or 0 if ``bounded``. One product and then
    passes that TensorFlow runs in place.
    """
    similarity = tf.matmul(rows, columns, transpose_b=True)
    # As [view, image, column] the two columns to mask are the same in both views.
    by_view = tf.reshape(similarity, [2, n, -1])
    mask = tf.fill([2, n], similarity.dtype.min)
    by_view = tf.linalg.set_diag(by_view, mask, k=0)
    by_view = tf.linalg.set_diag(by_view, mask, k=n)
    similarity = tf.reshape(by_view, [2 * n, -1])
    if bounded:
        return tf.exp(similarity), tf.zeros([], similarity.dtype)
    maximum = tf.reduce_max(similarity, axis=1)
    return tf.exp(similarity - maximum[:, None]), maximum


def second_views(columns: tf.Tensor, n: int | tf.Tensor) -> tf.Tensor:
    """Return view 2 of all replicas ``[N, d]``, in replica order."""
    by_replica = tf.reshape(columns, [-1, 2, n, columns.shape[1]])
    return tf.reshape(by_replica[:, 1], [-1, columns.shape[1]])


def replicas() -> int:
    """Return how many replicas run this loss; 1 in a strategy's scope outside run."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return distribution.replica_count()


def replica_index() -> tf.Tensor | int:
    """Return this replica's place among the columns, int32."""
    index = distribution.replica_id()
    # The replica id may be a uint32, which tf.range and tf.roll do not take.
    return index if isinstance(index, int) else tf.cast(index, tf.int32)
