"""The value of a classifier's scores by the metric of a data set, with interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import classifier_accuracy
from simclr_tf2.metrics.average_precision import map_interval, mean_average_precision


def score_logits(
    logits: Features, *, metric: str, seed: int | None = None
) -> dict[str, Any]:
    """Compute the value of a metric on one split.

    Args:
        logits: ``[n, classes]`` with the true labels: ``[n]``, for ``map11``
            ``[n, classes]`` of 1, 0 and -1.
        metric: ``"top1"``, ``"mean_per_class"`` or ``"map11"``.
        seed: Of the bootstrap; None leaves the interval out.

    Returns:
        ``value`` in [0, 1] and, with a seed, ``ci95``; for single labels also ``top1``
        and ``mean_per_class``, for ``map11`` ``average_precision`` of each class (None
        without a positive).

    Raises:
        ConfigError: Labels of the other kind, or a split that cannot be scored.
    """
    if metric == "map11":
        return _score_presence(logits, seed)
    found = classifier_accuracy(logits)
    record = {"value": found[metric]}
    record |= {key: found[key] for key in ("top1", "top5") if key in found}
    record["mean_per_class"] = found["mean_per_class"]
    if seed is not None:
        record["ci95"] = found["ci95"]
        if metric == "mean_per_class":
            record["ci95"] = found["mean_per_class_ci95"]
    return record


def _score_presence(logits: Features, seed: int | None) -> dict[str, Any]:
    labels = logits.labels
    if labels.shape != logits.features.shape or not (labels == 1).any():
        raise ConfigError(
            f"{logits.name or 'the split'} needs yes-or-no labels of each class, and "
            "an image of one of them, for mAP"
        )
    mean, each, skipped = mean_average_precision(logits.features, labels, points=11)
    record: dict[str, Any] = {
        "value": mean,
        "average_precision": [None if np.isnan(ap) else float(ap) for ap in each],
        "classes_without_test_positives": skipped,
    }
    if seed is not None:
        interval = map_interval(logits.features, labels, seed=seed, points=11)
        record["ci95"] = list(interval)
    return record
