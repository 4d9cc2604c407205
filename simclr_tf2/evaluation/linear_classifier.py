"""The linear classifier on h that a protocol found, for an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2.evaluation.features.extraction import Features


@dataclass(frozen=True)
class LinearClassifier:
    """Weights of a linear classifier; logits are ``h @ kernel + bias``.

    Attributes:
        kernel: float32 ``[d, c]``.
        bias: float32 ``[c]``.
        labels: Sorted labels ``[c]`` of the columns.
    """

    kernel: np.ndarray
    bias: np.ndarray
    labels: np.ndarray


def of_scikit_learn(classifier: Any, train: Features) -> LinearClassifier:
    """Take the weights of a fitted ``LogisticRegression``.

    Args:
        classifier: It has ``coef_``, ``intercept_`` and ``classes_``. Of two classes it
            scores the second; the other column is 0 here.
        train: What it was fitted on. Unless they were scaled before, it read them
            standardised; that becomes part of the weights.
    """
    from sklearn.preprocessing import StandardScaler

    kernel = classifier.coef_.T.astype(np.float64)
    bias = classifier.intercept_.astype(np.float64)
    if kernel.shape[1] == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([[0.0], bias])
    if not train.scaler:
        scaler = StandardScaler().fit(train.features)
        kernel = kernel / scaler.scale_[:, None]
        bias = bias - scaler.mean_ @ kernel
    return LinearClassifier(
        kernel.astype(np.float32), bias.astype(np.float32), classifier.classes_
    )
