"""Nearest-neighbour classifiers on frozen features."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifiable import (
    all_classes,
    require_classifiable,
    standardize,
)
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import summarize
from simclr_tf2.evaluation.solvers.nearest import CHUNK_BYTES, neighbours, vote

logger = logging.getLogger(__name__)

NEIGHBORS = 10
KS = (10, 20, 100, 200)  # of the MMSelfSup benchmark
TEMPERATURE = 0.07  # arXiv 1805.01978
VOTES_IN_WORDS = {"exp": "exp({metric} / {temperature:g})", "uniform": "uniform"}
SIMILARITY = {"cosine": "cosine", "euclidean": "-distance"}


def standardized_knn(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """Classify by majority of the 10 nearest neighbours on standardised features.

    StandardScaler fitted on train, then scikit-learn's KNeighborsClassifier(10),
    Euclidean. The scaler applies to both classifiers of this table:
    ``logistic_regression`` and this one read the same standardised h. In the PCA
    baseline the scaler stands before the projection, on the raw pixels, and both
    classifiers read the PCA features as they are.

    Args:
        train: Labelled features, the neighbours.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Kept in the result; nothing is drawn.

    Returns:
        What ``scoring.summarize`` returns, and the settings with the ``k`` used: no
        more than there are training images.

    Raises:
        ConfigError: Splits that no classifier can be fitted on.
    """
    from sklearn.neighbors import KNeighborsClassifier

    require_classifiable(train, test)
    start = time.perf_counter()
    train_x, test_x, scaler = standardize(train, test)
    k = min(NEIGHBORS, len(train))
    if k < NEIGHBORS:
        logger.warning("kNN: k=%d clipped to the %d training images", NEIGHBORS, k)
    classifier = KNeighborsClassifier(k).fit(train_x, train.labels)
    predictions = classifier.predict(test_x)
    return summarize(test.labels, predictions, all_classes(train, test)) | {
        "k": k,
        "votes": "uniform",
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
    metric: str = "cosine",
    weighting: str = "exp",
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, Any]:
    """Classify any number of images by their nearest neighbours, in bounded memory.

    score(class) = sum over the k most similar of exp(similarity / temperature), as in
    instance discrimination (arXiv 1805.01978) and the MMSelfSup benchmark; with
    ``weighting="uniform"`` each neighbour has one vote. A k above the number of
    training images is clipped and logged. Classes are those of both splits together; a
    class without a neighbour among the k is never a top-5 hit.

    Args:
        train: Labelled features, the bank.
        test: Labelled features, any number of rows; one without its class in the bank
            counts as an error.
        ks: Numbers of neighbours.
        temperature: Of the weights, greater than 0.
        metric: ``"cosine"``, or ``"euclidean"``: minus the distance is the similarity.
        weighting: ``"exp"`` or ``"uniform"``.
        chunk_bytes: About so much is held besides the features.

    Returns:
        ``top1_k{k}`` and, with more than 5 classes, ``top5_k{k}`` in [0, 1] for each k
        asked for; ``k_used`` {k: clipped k}; the settings.

    Raises:
        ConfigError: Splits that cannot be scored, no k, or a setting that makes no
            sense.
    """
    return _classify(train, test, ks, temperature, metric, weighting, chunk_bytes)[0]


def weighted_knn_top1(
    train: Features,
    test: Features,
    *,
    seed: int,
    ks: Sequence[int] = KS,
    temperature: float = TEMPERATURE,
    metric: str = "cosine",
    weighting: str = "exp",
) -> dict[str, Any]:
    """Run ``weighted_knn`` as a row of the table, which shows the last k.

    Args:
        train: Labelled features, the bank.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Kept in the result; nothing is drawn.
        ks: As for ``weighted_knn``, as the rest.
        temperature: Of the weights.
        metric: ``"cosine"`` or ``"euclidean"``.
        weighting: ``"exp"`` or ``"uniform"``.

    Returns:
        What ``scoring.summarize`` says of the last k, and all of ``weighted_knn``.

    Raises:
        ConfigError: Splits that cannot be scored.
    """
    start = time.perf_counter()
    found, predictions = _classify(
        train, test, ks, temperature, metric, weighting, CHUNK_BYTES
    )
    k = ks[-1]
    summary = summarize(test.labels, predictions, all_classes(train, test))
    best_five = {"top5": found[f"top5_k{k}"]} if f"top5_k{k}" in found else {}
    words = VOTES_IN_WORDS[weighting]
    return (
        summary
        | best_five
        | found
        | {
            "k": found["k_used"][k],
            "votes": words.format(metric=SIMILARITY[metric], temperature=temperature),
            "scaler": "L2 norm" if metric == "cosine" else "",
            "seed": seed,
            "seconds": time.perf_counter() - start,
        }
    )


def _classify(
    train: Features,
    test: Features,
    ks: Sequence[int],
    temperature: float,
    metric: str,
    weighting: str,
    chunk_bytes: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """Return what ``weighted_knn`` does, and the labels predicted with the last k."""
    require_classifiable(train, test)
    if not ks or min(ks) < 1 or not temperature > 0:
        raise ConfigError(
            "kNN needs k of 1 or more and a temperature above 0. "
            f"Received: k={tuple(ks)}, temperature={temperature}."
        )
    classes = all_classes(train, test)
    index, similarity = neighbours(
        test.features,
        train.features,
        k=max(ks),
        metric=metric,
        chunk_bytes=chunk_bytes,
    )
    columns = np.searchsorted(classes, train.labels)
    targets = np.searchsorted(classes, test.labels)
    hits = np.zeros((len(ks), 2), np.int64)
    predictions = np.zeros(len(test), np.int64)
    # Scores in float64 and what adds and ranks them: about 24 bytes a class.
    step = max(1, chunk_bytes // (24 * (len(classes) + max(ks))))
    for start in range(0, len(test), step):
        rows = slice(start, start + step)
        labels, near = columns[index[rows]], similarity[rows]
        for place, k in enumerate(ks):
            scores = vote(
                labels[:, :k],
                near[:, :k],
                num_classes=len(classes),
                weights=weighting,
                temperature=temperature,
            )
            hits[place] += _hits(scores, targets[rows])
        predictions[rows] = classes[scores.argmax(axis=1)]
    result: dict[str, Any] = {}
    for k, (top1, top5) in zip(ks, (hits / len(test)).tolist(), strict=True):
        result[f"top1_k{k}"] = top1
        if len(classes) > 5:
            result[f"top5_k{k}"] = top5
    return result | {
        "k_used": {int(k): min(int(k), len(train)) for k in ks},
        "temperature": temperature,
        "metric": metric,
        "weighting": weighting,
    }, predictions


def _hits(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Count the queries whose class has the best score, and one of the 5 best.

    In the precision of the scores; of equal ones the lower class is first.
    """
    own = scores[np.arange(len(scores)), targets][:, None]
    lower = np.arange(scores.shape[1]) < targets[:, None]
    before = ((scores > own) | ((scores == own) & lower)).sum(axis=1)
    voted = own[:, 0] > -np.inf  # some neighbour is of the class
    return np.array([(voted & (before < k)).sum() for k in (1, 5)], np.int64)
