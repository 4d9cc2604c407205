"""Labelled features that a linear classifier separates more or less."""

import numpy as np

from simclr_tf2.evaluation import Features


def clusters(n, *, dim=5, classes=3, seed=0, noise=1.0, labels=None, name=""):
    """n features around one centre per class; centres do not depend on the seed."""
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n) if labels is None else np.asarray(labels)
    x = centres[y] + noise * rng.normal(size=(n, dim))
    return Features((3 * x + 1).astype(np.float32), y, name)


def multi_label(n, *, seed, dim=7, classes=3, ignored=0.1):
    """Features in which each present class adds its own direction."""
    directions = np.random.default_rng(99).normal(size=(classes, dim))
    rng = np.random.default_rng(seed)
    present = rng.integers(2, size=(n, classes))
    features = present @ directions + 1.5 * rng.normal(size=(n, dim))
    labels = np.where(rng.random((n, classes)) < ignored, -1, present)
    labels[:, 0] = present[:, 0]  # no image without any label
    return features.astype(np.float32), labels
