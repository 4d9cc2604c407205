"""Scores of predictions on a labelled split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.metrics import classification, significance

Z_95 = 1.959964  # 97.5 % quantile of the normal distribution
BOOTSTRAP_SEED = 0  # of all intervals of means over classes, so that they repeat


def interval95(correct: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion.

    It has a closed form, so it needs no seed, and it is reliable for tiny test sets.
    For 3 correct out of 3 it is (0.44, 1); a bootstrap of the images gives (1, 1).

    Source: E. B. Wilson, JASA 22 (1927) 209-212.
    """
    assert 0 <= correct <= total and total > 0, (correct, total)
    p, z2 = correct / total, Z_95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(p * (1 - p) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    half *= Z_95
    return max(0.0, centre - half), min(1.0, centre + half)


def summarize(
    labels: np.ndarray, predictions: np.ndarray, classes: np.ndarray
) -> dict[str, Any]:
    """Compute top-1 with its interval, per-class accuracy and the confusion matrix.

    Args:
        labels: int64 ``[n]``.
        predictions: int64 ``[n]``.
        classes: Sorted labels of train and test together ``[c]``.

    Returns:
        ``top1`` and ``mean_per_class`` in [0, 1], their intervals ``ci95`` (Wilson) and
        ``mean_per_class_ci95`` (bootstrap of images), ``per_class`` (None where the
        split has no image of the class), ``confusion``, ``classes``, ``predictions``;
        everything but ``predictions`` ready for JSON.
    """
    confusion = metrics.confusion_matrix(
        np.searchsorted(classes, labels),
        np.searchsorted(classes, predictions),
        num_classes=len(classes),
    )
    correct = int(np.trace(confusion))
    recalls = metrics.per_class_accuracy(confusion).tolist()
    return {
        "top1": metrics.accuracy(correct, len(labels)),
        "ci95": list(interval95(correct, len(labels))),
        "mean_per_class": metrics.mean_per_class_accuracy(confusion),
        "mean_per_class_ci95": list(
            significance.mean_per_class_interval(confusion, seed=BOOTSTRAP_SEED)
        ),
        "per_class": [None if math.isnan(r) else r for r in recalls],
        "confusion": confusion.tolist(),
        "classes": classes.tolist(),
        "predictions": np.asarray(predictions, np.int64),
    }


def classifier_accuracy(logits: Features) -> dict[str, Any]:
    """Score a network's own classifier: top-1, top-5 (above 5 classes), mean per class.

    Args:
        logits: ``[n, classes]`` with the true labels, every example once.

    Returns:
        The keys of ``summarize`` except ``predictions``, and ``top5``, ``num_classes``
        and ``chance``.

    Raises:
        ConfigError: An example has no label, or a label of no class of the classifier.
    """
    count = logits.features.shape[1]
    if len(logits) and not 0 <= logits.labels.min() <= logits.labels.max() < count:
        raise ConfigError(
            f"labels of {logits.name or 'the split'} must be from 0 to {count - 1}, "
            f"the classes of the classifier. Received: {logits.labels.min()} to "
            f"{logits.labels.max()}."
        )
    classes = np.arange(count)
    found = summarize(logits.labels, logits.features.argmax(axis=1), classes)
    del found["predictions"]
    found["num_classes"] = count
    found["chance"] = metrics.no_information_rate(logits.labels)
    if count > 5:
        hits = classification.top_k_count(logits.features, logits.labels, k=5)
        found["top5"] = int(hits) / len(logits)
    return found
