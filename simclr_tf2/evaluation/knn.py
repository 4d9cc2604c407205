"""Nearest-neighbour classifiers on frozen features."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.config import ConfigError
from simclr_tf2.evaluation.accuracy import summarize
from simclr_tf2.evaluation.features import Features
from simclr_tf2.evaluation.splits import (
    all_classes,
    require_classifiable,
    standardize,
)

logger = logging.getLogger(__name__)

NEIGHBORS = 10
KS = (10, 20, 100, 200)  # of the MMSelfSup benchmark
TEMPERATURE = 0.07  # arXiv 1805.01978
CHUNK_BYTES = 128 * 2**20  # of similarities held at once by ``weighted_knn``


def knn5_8(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """Majority vote of the 10 nearest neighbours on standardised features.

    StandardScaler fitted on train, then scikit-learn's KNeighborsClassifier(10),
    Euclidean. The scaler applies to BOTH classifiers of this table: ``stl10_logreg``
    and this one read the same standardised h. In the PCA baseline the scaler stands
    before the projection, on the raw pixels, and both classifiers read the PCA
    features as they are.

    Args:
        train: Labelled features, the neighbours.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Kept in the result; nothing is drawn.

    Returns:
        What ``accuracy.summarize`` returns, and the settings with the ``k`` used: no
        more than there are training images.

    Raises:
        ConfigError: Splits that no classifier can be fitted on.
    """
    from sklearn.neighbors import KNeighborsClassifier

    require_classifiable(train, test)
    start = time.perf_counter()
    train_x, test_x, scaler = standardize(train, test)
    k = _clip(NEIGHBORS, len(train))
    classifier = KNeighborsClassifier(k).fit(train_x, train.labels)
    predictions = classifier.predict(test_x)
    return summarize(test.labels, predictions, all_classes(train, test)) | {
        "k": k,
        "weights": "uniform",
        "metric": "euclidean",
        "scaler": scaler,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def weighted_knn(
    train: Features,
    test: Features,
    *,
    ks: Sequence[int] = KS,
    temperature: float = TEMPERATURE,
    chunk: int | None = None,
) -> dict[str, Any]:
    """Similarity-weighted k nearest neighbours on L2-normalised features.

    score(class) = sum over the k most similar of exp(cosine / temperature), as in
    instance discrimination (arXiv 1805.01978) and the MMSelfSup benchmark. A k
    above the number of training images is clipped and logged. Classes are those of
    both splits together; a class without a neighbour among the k is never a top-5 hit.

    Args:
        train: Labelled features, the bank.
        test: Labelled features, any number of rows; one without its class in the bank
            counts as an error.
        ks: Numbers of neighbours.
        temperature: Of the weights, greater than 0.
        chunk: Test rows at once; None keeps the similarities below 128 MiB.

    Returns:
        ``top1_k{k}`` and, with more than 5 classes, ``top5_k{k}`` in [0, 1] for each k
        asked for; ``k_used`` {k: clipped k}; ``temperature``; ``chunk``.

    Raises:
        ConfigError: Splits that cannot be scored, no k, or k or temperature below
            what makes sense.
    """
    return _classify(train, test, ks, temperature, chunk)[0]


def knn5_6(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """``weighted_knn`` as a row of the table: k of 10, 20, 100 and 200.

    Args:
        train: Labelled features, the bank.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Kept in the result; nothing is drawn.

    Returns:
        What ``accuracy.summarize`` says of the largest k, and all of
        ``weighted_knn``.

    Raises:
        ConfigError: Splits that cannot be scored.
    """
    start = time.perf_counter()
    found, predictions = _classify(train, test, KS, TEMPERATURE, None)
    k = KS[-1]
    summary = summarize(test.labels, predictions[k], all_classes(train, test))
    best_five = {"top5": found[f"top5_k{k}"]} if f"top5_k{k}" in found else {}
    return (
        summary
        | best_five
        | found
        | {
            "k": found["k_used"][k],
            "weights": "exp(cosine / temperature)",
            "metric": "cosine",
            "scaler": "L2 norm",
            "seed": seed,
            "seconds": time.perf_counter() - start,
        }
    )


def _classify(
    train: Features,
    test: Features,
    ks: Sequence[int],
    temperature: float,
    chunk: int | None,
) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """What ``weighted_knn`` returns, and the predicted labels of each k."""
    require_classifiable(train, test)
    if not ks or min(ks) < 1 or temperature <= 0:
        raise ConfigError(
            "kNN needs k of 1 or more and a temperature above 0. "
            f"Received: k={tuple(ks)}, temperature={temperature}."
        )
    used = {int(k): _clip(int(k), len(train)) for k in ks}
    chunk = max(1, min(chunk or CHUNK_BYTES // (4 * len(train)), len(test)))
    classes = all_classes(train, test)
    bank = normalized(train.features)
    bank_labels = tf.constant(np.searchsorted(classes, train.labels), tf.int32)
    targets = np.searchsorted(classes, test.labels).astype(np.int32)
    hits = {k: np.zeros(2, np.int64) for k in used.values()}
    votes: dict[int, list[np.ndarray]] = {k: [] for k in used.values()}
    for start in range(0, len(test), chunk):
        rows = slice(start, start + chunk)
        scores = class_scores(
            test.features[rows],
            bank,
            bank_labels,
            num_classes=len(classes),
            ks=tuple(hits),
            temperature=temperature,
        )
        for k, score in scores.items():
            hits[k] += _hits(score, targets[rows])
            votes[k].append(classes[tf.argmax(score, axis=1).numpy()])
    result: dict[str, Any] = {}
    for k, clipped in used.items():
        top1, top5 = hits[clipped] / len(test)
        result[f"top1_k{k}"] = float(top1)
        if len(classes) > 5:
            result[f"top5_k{k}"] = float(top5)
    result |= {"k_used": used, "temperature": temperature, "chunk": chunk}
    return result, {k: np.concatenate(votes[clipped]) for k, clipped in used.items()}


def normalized(x: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Rows of length 1 in float32; a row of zeros stays zero."""
    return tf.math.l2_normalize(tf.cast(x, tf.float32), axis=-1, epsilon=1e-24)


def class_scores(
    queries: tf.Tensor | np.ndarray,
    bank: tf.Tensor,
    bank_labels: tf.Tensor,
    *,
    num_classes: int,
    ks: Sequence[int],
    temperature: float = 0.07,
) -> dict[int, tf.Tensor]:
    """Scores of each class for each query, on tensors, eagerly or in a graph.

    Each row's weights are divided by its largest, exp((s - max s) / temperature):
    the same order of classes, without overflow at small temperatures.

    Args:
        queries: ``[q, d]``, of any length.
        bank: ``[n, d]``, rows of length 1 (``normalized``).
        bank_labels: int32 ``[n]`` in [0, num_classes).
        num_classes: Number of columns of the result.
        ks: Numbers of neighbours, each at most n.
        temperature: Of the weights.

    Returns:
        {k: float32 ``[q, num_classes]``}.
    """
    similarity = tf.matmul(normalized(queries), bank, transpose_b=True)
    nearest, index = tf.math.top_k(similarity, k=max(ks))  # sorted, best first
    weights = tf.exp((nearest - nearest[:, :1]) / temperature)
    count = tf.shape(nearest)[0]
    segments = tf.range(count)[:, None] * num_classes + tf.gather(bank_labels, index)
    return {
        k: tf.reshape(
            tf.math.unsorted_segment_sum(
                weights[:, :k], segments[:, :k], count * num_classes
            ),
            [count, num_classes],
        )
        for k in ks
    }


def _hits(scores: tf.Tensor, targets: np.ndarray) -> np.ndarray:
    """Number of queries whose class has the best score, and one of the 5 best."""
    voted = tf.gather(scores, targets, batch_dims=1) > 0
    counts = [metrics.top_k_count(scores, targets, k=k, mask=voted) for k in (1, 5)]
    return np.array(counts, np.int64)


def _clip(k: int, available: int) -> int:
    if k > available:
        logger.warning("kNN: k=%d clipped to the %d training images", k, available)
    return min(k, available)
