"""Exact nearest neighbours of any number of queries in any number of features."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2.config import KNN_METRICS, KNN_WEIGHTINGS
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 512 * 2**20


def neighbours(
    queries: np.ndarray,
    bank: np.ndarray,
    *,
    k: int,
    metric: str = "cosine",
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest rows of ``bank`` to each query, by brute force in blocks.

    Blocks of queries meet blocks of the bank, and the k best so far are merged with
    those of each block. The bank is read once, the queries once per block of the bank;
    both may be memory maps. Time grows with q * n * d, memory only with q * k and
    ``chunk_bytes``. Products are summed in full float32: differences of similarity
    below about 1e-6 (euclidean: of squared distance, below 1e-6 of the squared distance
    to the mean of the bank) are ties. Among equal similarities the lower index is
    first.

    Args:
        queries: float ``[q, d]``.
        bank: float ``[n, d]``.
        k: 1 or more; one above n is clipped to n, and logged.
        metric: ``"cosine"`` or ``"euclidean"``. A row of zeros has cosine 0 to all.
        chunk_bytes: About so much is held besides queries, bank and result; at least
            one query and one row of the bank.

    Returns:
        Indices into the bank, int64 ``[q, k]``, nearest first, and their similarities,
        float32 ``[q, k]``: the cosine in [-1, 1], or minus the Euclidean distance.

    Raises:
        ConfigError: Shapes that do not fit together, no row, an unknown metric, k below
            1, or a value that is not finite.
    """
    _require_searchable(queries, bank, k, metric)
    if k > len(bank):
        logger.warning("kNN: k=%d clipped to the %d training images", k, len(bank))
    k = min(k, len(bank))
    sizes = _block_sizes(len(queries), *bank.shape, k=k, chunk_bytes=chunk_bytes)
    space = _Space(metric, _mean(bank, sizes.bank) if metric == "euclidean" else None)
    indices = np.zeros((len(queries), k), np.int64)
    best = np.full((len(queries), k), -np.inf, np.float32)
    with _full_float32():
        for first in range(0, len(bank), sizes.bank):
            rows, offset = space.bank_block(_block(bank, first, sizes.bank, "bank"))
            for start in range(0, len(queries), sizes.queries):
                part = slice(start, start + sizes.queries)
                x = space.query_block(_block(queries, start, sizes.queries, "queries"))
                scores = tf.matmul(x, rows, transpose_b=True) + offset
                _merge(scores, first, indices[part], best[part])
    return indices, space.similarity(best, queries, sizes.queries)


def vote(
    labels_of_neighbours: np.ndarray,
    similarities: np.ndarray,
    *,
    num_classes: int,
    weights: str = "exp",
    temperature: float = 0.07,
) -> np.ndarray:
    """Score each class among the neighbours, as natural logarithms.

    ``exp``: sum of exp(similarity / temperature), as in instance discrimination (arXiv
    1805.01978), divided by the largest weight of the row; in logarithms, so that a far
    neighbour's vote does not vanish. ``uniform``: the number of neighbours, ties for
    the lowest class with ``argmax``. The first k columns of a larger search give the
    vote of a smaller k.

    Args:
        labels_of_neighbours: int ``[q, k]`` in [0, num_classes).
        similarities: ``[q, k]``, nearest first.
        num_classes: Columns of the result.
        weights: ``"exp"`` or ``"uniform"``.
        temperature: More than 0; read by ``"exp"`` only.

    Returns:
        float64 ``[q, num_classes]``; -inf where no neighbour has the class.

    Raises:
        ConfigError: Another ``weights``, a temperature that is not above 0, labels out
            of range, or shapes that differ.
    """
    labels = np.asarray(labels_of_neighbours)
    _require_votes(labels, similarities, num_classes, weights, temperature)
    if weights == "uniform":
        logs = np.zeros(labels.shape, np.float64)
    else:
        gap = np.subtract(similarities, similarities[:, :1], dtype=np.float64)
        logs = gap / temperature
    cells = np.arange(len(labels))[:, None] * num_classes + labels
    largest = np.full(len(labels) * num_classes, -np.inf)
    np.maximum.at(largest, cells, logs)
    parts = np.exp(logs - largest[cells])  # 1 at the largest of each class
    sums = np.bincount(cells.ravel(), weights=parts.ravel(), minlength=len(largest))
    np.log(sums, out=sums, where=sums > 0)  # 0 stays, and -inf is added to it
    return (largest + sums).reshape(len(labels), num_classes)


@dataclass(frozen=True)
class _Sizes:
    queries: int
    bank: int


@dataclass(frozen=True)
class _Space:
    """Both metrics as one product and an offset per row of the bank.

    Cosine: the query's length does not change the order and divides at the end.
    Euclidean: -|q - b|^2 / 2 = q b - |b|^2 / 2 + (a constant of q). Both are moved by
    the mean of the bank, which keeps distances and avoids cancellation of large means.
    """

    metric: str
    mean: np.ndarray | None

    def bank_block(self, rows: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        if self.mean is None:
            return tf.constant(rows * _inverse_length(rows)[:, None]), tf.zeros([])
        rows = rows - self.mean
        return tf.constant(rows), tf.constant(-_squares(rows) / 2)

    def query_block(self, rows: np.ndarray) -> tf.Tensor:
        return tf.constant(rows if self.mean is None else rows - self.mean)

    def similarity(
        self, scores: np.ndarray, queries: np.ndarray, step: int
    ) -> np.ndarray:
        """Turn scores ``[q, k]`` into cosines or negative distances, in place."""
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            x = np.asarray(queries[part], np.float32)
            if self.mean is None:
                scores[part] *= _inverse_length(x)[:, None]
            else:
                squared = _squares(x - self.mean)[:, None] - 2 * scores[part]
                scores[part] = -np.sqrt(np.maximum(squared, 0))
        return scores


def _merge(
    scores: tf.Tensor, first: int, indices: np.ndarray, best: np.ndarray
) -> None:
    """Put the best of ``scores [q, b]`` among the k best so far, in place."""
    k = best.shape[1]
    found, place = tf.math.top_k(scores, k=min(k, scores.shape[1]))
    # Earlier rows of the bank come first, and top_k keeps the first of equal ones.
    joined = np.concatenate([best, found.numpy()], axis=1)
    names = np.concatenate([indices, place.numpy().astype(np.int64) + first], axis=1)
    values, order = tf.math.top_k(joined, k=k)
    best[:] = values.numpy()
    indices[:] = np.take_along_axis(names, order.numpy(), axis=1)


def _block_sizes(
    count: int, rows: int, dim: int, *, k: int, chunk_bytes: int
) -> _Sizes:
    """Return how many queries and how many rows of the bank a block has.

    A quarter of ``chunk_bytes`` is for a block of the bank, a quarter for the queries,
    half for their product.

    Each is held about twice, as read and as a tensor.
    """
    numbers = max(1, chunk_bytes // 8)
    bank = max(1, min(rows, numbers // (4 * dim)))
    queries = min(count, numbers // (4 * dim), numbers // (2 * (bank + 6 * k)))
    return _Sizes(max(1, queries), bank)


def _block(array: np.ndarray, start: int, size: int, name: str) -> np.ndarray:
    """Read a block of rows as float32; refuse values that are not finite."""
    rows = np.asarray(array[start : start + size], np.float32)
    if not np.isfinite(rows.sum(dtype=np.float64)):
        bad = int((~np.isfinite(rows).all(axis=1)).argmax())
        raise ConfigError(
            f"kNN: row {start + bad} of the {name} is not finite; the encoder has "
            "diverged, use an earlier checkpoint"
        )
    return rows


def _mean(bank: np.ndarray, step: int) -> np.ndarray:
    total = np.zeros(bank.shape[1], np.float64)
    for start in range(0, len(bank), step):
        total += _block(bank, start, step, "bank").sum(axis=0, dtype=np.float64)
    return (total / len(bank)).astype(np.float32)


def _squares(rows: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("nd,nd->n", rows, rows)
    return squares


def _inverse_length(rows: np.ndarray) -> np.ndarray:
    """Return 1 / |x| of each row in float32; 0 for a row of zeros."""
    length = np.linalg.norm(rows, axis=1)
    inverse: np.ndarray = np.zeros_like(length)
    np.divide(1, length, out=inverse, where=length > 0)
    return inverse


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Turn TensorFloat-32 off inside: its 10 bits would change who is nearest."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _require_searchable(
    queries: np.ndarray, bank: np.ndarray, k: int, metric: str
) -> None:
    if metric not in KNN_METRICS:
        choices = ", ".join(KNN_METRICS)
        raise ConfigError(
            f"kNN: metric must be one of {choices}. Received: {metric!r}."
        )
    if k < 1:
        raise ConfigError(f"kNN: k must be 1 or more. Received: {k}.")
    shapes = queries.shape, bank.shape
    if not (queries.ndim == bank.ndim == 2 and queries.shape[1:] == bank.shape[1:]):
        raise ConfigError(
            "kNN: queries [q, d] and bank [n, d] must have one dimension. Received: "
            f"{shapes[0]} and {shapes[1]}."
        )
    if 0 in (*shapes[0], *shapes[1]):
        raise ConfigError(
            "kNN: no image to compare. Received: queries "
            f"{shapes[0]} and bank {shapes[1]}."
        )


def _require_votes(
    labels: np.ndarray,
    similarities: np.ndarray,
    num_classes: int,
    weights: str,
    temperature: float,
) -> None:
    if weights not in KNN_WEIGHTINGS:
        choices = ", ".join(KNN_WEIGHTINGS)
        raise ConfigError(
            f"kNN: weights must be one of {choices}. Received: {weights!r}."
        )
    if not temperature > 0:
        raise ConfigError(f"kNN: temperature must be above 0. Received: {temperature}.")
    if labels.ndim != 2 or labels.shape != similarities.shape or not labels.size:
        raise ConfigError(
            "kNN: labels and similarities of the neighbours must both be [q, k]. "
            f"Received: {labels.shape} and {similarities.shape}."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ConfigError(
            f"kNN: labels of the neighbours must be from 0 to {num_classes - 1}. "
            f"Received: {labels.min()} to {labels.max()}."
        )
