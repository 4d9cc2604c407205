"""Two splits as one binary problem per class: one label per image, or several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simclr_tf2.errors import ConfigError


@dataclass(frozen=True)
class Binary:
    """A binary problem per class, for training and for scoring.

    Attributes:
        train: float64 ``[n, d]``, rows divided by their length + 1e-5.
        test: float64 ``[m, d]``, likewise.
        train_targets: int64 ``[n, c]`` of 1, 0 and -1 (ignored).
        test_targets: int64 ``[m, c]``, likewise.
        classes: int64 ``[c]``, the label of each column.
    """

    train: np.ndarray
    test: np.ndarray
    train_targets: np.ndarray
    test_targets: np.ndarray
    classes: np.ndarray


def prepare(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
) -> Binary:
    """Make the binary problems of two splits; refuse what does not fit together."""
    train, test = (
        _normalized(train_features, "train"),
        _normalized(test_features, "test"),
    )
    if train.shape[1] != test.shape[1]:
        raise ConfigError(
            "train and test features must have one dimension. Received: "
            f"{train.shape[1]} and {test.shape[1]}."
        )
    train_labels = _labels(train_labels, len(train), "train")
    test_labels = _labels(test_labels, len(test), "test")
    if train_labels.ndim != test_labels.ndim:
        raise ConfigError(
            "train and test labels must both be single-label [n] or both multi-label "
            f"[n, classes]. Received: {train_labels.shape} and {test_labels.shape}."
        )
    if train_labels.ndim == 2:
        if train_labels.shape[1] != test_labels.shape[1]:
            raise ConfigError(
                "train and test labels must have the same classes. Received: "
                f"{train_labels.shape[1]} and {test_labels.shape[1]} columns."
            )
        classes = np.arange(train_labels.shape[1])
        return Binary(train, test, train_labels, test_labels, classes)
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise ConfigError(
            f"the train split has {len(train)} images of one class (label "
            f"{int(classes[0])}); a classifier needs at least two classes"
        )
    return Binary(
        train,
        test,
        (train_labels[:, None] == classes).astype(np.int64),
        (test_labels[:, None] == classes).astype(np.int64),
        classes,
    )


def require_positives(binary: Binary, *, at_least: int) -> None:
    """Refuse classes too rare to train on, and a test split without any positive.

    Args:
        binary: What ``prepare`` returned.
        at_least: Positives, and negatives, of each class in train: one per fold.
    """
    positives = (binary.train_targets == 1).sum(axis=0)
    negatives = len(binary.train_targets) - positives
    for kind, counts in (("positive", positives), ("negative", negatives)):
        rarest = int(counts.argmin())
        if counts[rarest] < at_least:
            raise ConfigError(
                f"class {binary.classes[rarest]} has {counts[rarest]} {kind} training "
                f"image(s), fewer than the {at_least} this protocol needs; use more "
                "images or leave the class out"
            )
    if not (binary.test_targets == 1).any():
        raise ConfigError("no class of the train split occurs in the test split")


def _normalized(features: np.ndarray, role: str) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
        raise ConfigError(
            f"{role} features must be [n, d] with n of 1 or more. "
            f"Received: {features.shape}."
        )
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    if bad:
        raise ConfigError(
            f"{bad} of {len(features)} rows of the {role} features are not finite; the "
            "encoder has diverged, use an earlier checkpoint"
        )
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    rows: np.ndarray = features / (lengths + 1e-5)
    return rows


def _labels(labels: np.ndarray, count: int, role: str) -> np.ndarray:
    labels = np.asarray(labels)
    if (
        labels.ndim not in (1, 2)
        or len(labels) != count
        or labels.dtype.kind not in "iub"
    ):
        raise ConfigError(
            f"{role} labels must be whole numbers [{count}] or [{count}, classes]. "
            f"Received: {labels.dtype} {labels.shape}."
        )
    labels = labels.astype(np.int64)
    if labels.ndim == 1:
        missing = int((labels < 0).sum())
    elif not np.isin(labels, (-1, 0, 1)).all():
        raise ConfigError(
            f"multi-label {role} labels must be 1 (present), 0 (absent) or -1 (ignored)"
            f". Received: {labels.min()} to {labels.max()}."
        )
    else:
        missing = int((labels == -1).all(axis=1).sum()) if labels.shape[1] > 1 else 0
    if missing:
        raise ConfigError(
            f"{missing} of {count} images of the {role} split have no label; "
            "this protocol needs a label for every image"
        )
    return labels
