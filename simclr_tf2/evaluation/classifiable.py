"""Checks of the splits that a classifier is fitted on and scored with."""

from __future__ import annotations

import logging

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features

logger = logging.getLogger(__name__)

STANDARD_SCALER = "StandardScaler"


def require_classifiable(train: Features, test: Features) -> None:
    """Refuse splits that no classifier can be fitted on or scored with.

    A class that only the test split has is allowed (its images count as errors) and
    logged; so is one that the test split lacks.

    Raises:
        ConfigError: An empty or unlabelled split, one class, unequal dimensions.
    """
    for role, split in (("train", train), ("test", test)):
        where = f"the {role} split{f' ({split.name})' if split.name else ''}"
        if split.labels.ndim != 1:
            raise ConfigError(
                f"{where} has {split.labels.shape[1]} yes-or-no labels an image; this "
                "protocol needs one label an image (use svm or low_shot)"
            )
        if not len(split):
            raise ConfigError(f"{where} has no image to evaluate")
        missing = int((split.labels < 0).sum())
        if missing:
            raise ConfigError(
                f"{missing} of {len(split)} images of {where} have no label; "
                "this protocol needs a label for every image"
            )
    if train.features.shape[1] != test.features.shape[1]:
        raise ConfigError(
            "train and test features must have one dimension. Received: "
            f"{train.features.shape[1]} and {test.features.shape[1]}."
        )
    found = np.unique(train.labels)
    if len(found) < 2:
        raise ConfigError(
            f"the train split has {len(train)} images of one class "
            f"(label {int(found[0])}); a classifier needs at least two classes"
        )
    unseen = np.setdiff1d(test.labels, found)
    if len(unseen):
        logger.warning(
            "%d class(es) of the test split have no training image and count as "
            "errors (labels %s)",
            len(unseen),
            ", ".join(map(str, unseen[:10])) + (", ..." if len(unseen) > 10 else ""),
        )


def all_classes(train: Features, test: Features) -> np.ndarray:
    """Return the sorted labels of both splits, because either may lack a class."""
    return np.union1d(train.labels, test.labels)


def standardize(train: Features, test: Features) -> tuple[np.ndarray, np.ndarray, str]:
    """Standardise both splits with mean and variance of the train split.

    Features that carry a ``scaler`` (the PCA baseline, whose pixels were standardised
    before the projection) are returned as they are.

    Returns:
        Train ``[n, d]`` and test ``[m, d]`` float32, and the name of the scaler.
    """
    if train.scaler != test.scaler:
        raise ConfigError(
            "train and test features must be scaled alike. Received: "
            f"{train.scaler!r} and {test.scaler!r}."
        )
    if train.scaler:
        return train.features, test.features, train.scaler
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.features)
    return (
        scaler.transform(train.features),
        scaler.transform(test.features),
        STANDARD_SCALER,
    )
