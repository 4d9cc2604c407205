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
