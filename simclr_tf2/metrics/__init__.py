"""Measures of a representation and of a classifier; no state, no files."""

from simclr_tf2.metrics.classification import (
    accuracy,
    confusion_matrix,
    mean_per_class_accuracy,
    no_information_rate,
    per_class_accuracy,
    top_k_count,
)
from simclr_tf2.metrics.representation import (
    alignment,
    embedding_std,
    rankme,
    uniformity,
)

__all__ = [
    "accuracy",
    "alignment",
    "confusion_matrix",
    "embedding_std",
    "mean_per_class_accuracy",
    "no_information_rate",
    "per_class_accuracy",
    "rankme",
    "top_k_count",
    "uniformity",
]
