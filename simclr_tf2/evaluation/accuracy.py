"""What predictions on a labelled split amount to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simclr_tf2 import metrics

Z_95 = 1.959964  # 97.5 % quantile of the normal distribution


def interval95(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion.

    Closed form, so without a seed, and honest for tiny test sets: 3 of 3 right gives
    (0.44, 1), where a bootstrap of the images would give (1, 1).

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
    """Top-1 with its interval, per-class accuracy and the confusion matrix.

    Args:
        labels: int64 ``[n]``.
        predictions: int64 ``[n]``.
        classes: Sorted labels of train and test together ``[c]``.

    Returns:
        ``top1`` and ``mean_per_class`` in [0, 1], ``ci95``, ``per_class`` (None where
        the split has no image of the class), ``confusion``, ``classes``,
        ``predictions``; everything but ``predictions`` ready for JSON.
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
        "per_class": [None if math.isnan(r) else r for r in recalls],
        "confusion": confusion.tolist(),
        "classes": classes.tolist(),
        "predictions": np.asarray(predictions, np.int64),
    }
