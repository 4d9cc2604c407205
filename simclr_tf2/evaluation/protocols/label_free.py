"""Measures of a representation that need no labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError

ROWS = 4096  # [ours] images among which pairs and the rank are taken
CHUNK = 1024  # rows at once
CAVEATS = (
    "no number here is an accuracy: compare only runs with the same images, "
    "augmentations and dimensions",
    "alignment is best (0) for a collapsed encoder: read it together with uniformity",
    "RankMe is at most min(images, dimensions) and grows with the number of images",
)


def label_free(
    h: np.ndarray,
    z: np.ndarray,
    *,
    h_other: np.ndarray | None = None,
    z_other: np.ndarray | None = None,
    seed: int = 0,
    rows: int = ROWS,
) -> dict[str, Any]:
    """Measure spread, rank and alignment of representations h and projections z.

    Uniformity and RankMe grow with the square of the number of images and take at most
    ``rows`` of them, drawn without replacement; the rest reads all, in chunks, so the
    arrays may be memory-mapped.

    Args:
        h: float32 ``[n, d]``, n of 2 or more, finite.
        z: float32 ``[n, e]`` of the same images in the same order.
        h_other: ``[n, d]`` of another augmented view of each image, for the alignment.
        z_other: ``[n, e]``, likewise.
        seed: Of the choice of rows.
        rows: 2 or more.

    Returns:
        Ready for JSON: for h and z each ``{name}_std`` (0 if collapsed; near
        ``{name}_std_if_even``, 1 / sqrt(d), if evenly spread), ``{name}_uniformity``,
        ``{name}_rankme`` and its bound ``{name}_rankme_max``, and ``{name}_alignment``
        if another view is given; ``images``, ``images_for_pairs``, ``seed``,
        ``caveats``.

    Raises:
        ConfigError: Fewer than two images, arrays that do not fit together or are not
            finite, ``rows`` below 2.
    """
    if rows < 2:
        raise ConfigError(f"rows must be 2 or more. Received: {rows}.")
    h, z = _matrix(h, "h"), _matrix(z, "z")
    if len(h) != len(z):
        raise ConfigError(
            f"h and z must be of the same images. Received: {len(h)} and {len(z)} rows."
        )
    count = min(rows, len(h))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(h))[:count])
    result: dict[str, Any] = {}
    for name, first, second in (("h", h, h_other), ("z", z, z_other)):
        found = _one_view(first, chosen)
        if second is not None:
            found["alignment"] = _alignment(first, second, name)
        result |= {f"{name}_{key}": value for key, value in found.items()}
    return result | {
        "images": len(h),
        "images_for_pairs": count,
        "seed": seed,
        "caveats": list(CAVEATS),
    }


def chunked_uniformity(embeddings: np.ndarray, *, chunk: int = CHUNK) -> float:
    """Compute ``metrics.uniformity``, never holding the n x n potentials at once.

    Args:
        embeddings: float32 ``[n, d]`` with n at least 2.
        chunk: Rows of the n x n at once.
    """
    x = tf.math.l2_normalize(tf.constant(embeddings), axis=-1)
    squares = tf.reduce_sum(tf.square(x), axis=-1)  # 1, but 0 for a zero row
    total, n = 0.0, len(embeddings)
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        gram = tf.matmul(x[part], x, transpose_b=True)
        distances = squares[part, None] + squares[None, :] - 2.0 * gram
        potentials = tf.exp(-2.0 * tf.maximum(distances, 0.0))
        own = tf.linalg.diag_part(potentials, k=start)  # each row with itself
        total += float(tf.reduce_sum(tf.cast(potentials, tf.float64)))
        total -= float(tf.reduce_sum(tf.cast(own, tf.float64)))
    return math.log(total / (n * (n - 1)))


def chunked_std(embeddings: np.ndarray, *, chunk: int = CHUNK) -> float:
    """Compute ``metrics.embedding_std`` of any number of rows.

    Args:
        embeddings: float32 ``[n, d]``.
        chunk: Rows at once.
    """
    count, mean, squares = 0, np.zeros(embeddings.shape[1]), 0.0
    for rows in _chunks(len(embeddings), chunk):
        x = tf.math.l2_normalize(tf.constant(embeddings[rows]), axis=-1)
        part = x.numpy().astype(np.float64)
        # Chan, Golub and LeVeque's update: no difference of two large sums.
        off, total = part.mean(axis=0) - mean, count + len(part)
        squares = squares + part.var(axis=0) * len(part)
        squares = squares + off**2 * (count * len(part) / total)
        mean, count = mean + off * (len(part) / total), total
    return float(np.sqrt(squares / count).mean())


def _one_view(embeddings: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    part = embeddings[chosen]
    return {
        "std": chunked_std(embeddings),
        "std_if_even": 1 / math.sqrt(embeddings.shape[1]),
        "uniformity": chunked_uniformity(part),
        "rankme": float(metrics.rankme(tf.constant(part))),
        "rankme_max": min(part.shape),
    }


def _alignment(first: np.ndarray, second: np.ndarray, name: str) -> float:
    second = _matrix(second, f"the other view of {name}")
    if second.shape != first.shape:
        raise ConfigError(
            f"both views of {name} must have one shape. "
            f"Received: {first.shape} and {second.shape}."
        )
    total = 0.0
    for rows in _chunks(len(first), CHUNK):
        mean = metrics.alignment(tf.constant(first[rows]), tf.constant(second[rows]))
        total += float(mean) * len(first[rows])
    return total / len(first)


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise ConfigError(
            f"{name} must be [n, d] with 2 images or more. Received: {values.shape}."
        )
    bad = sum(
        int((~np.isfinite(values[rows]).all(axis=1)).sum())
        for rows in _chunks(len(values), CHUNK)
    )
    if bad:
        raise ConfigError(
            f"{bad} of {len(values)} rows of {name} are not finite; the encoder has "
            "diverged, use an earlier checkpoint"
        )
    return values


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
