"""Compare two representations of the same images by their nearest neighbours."""

from __future__ import annotations

import numpy as np

from simclr_tf2.evaluation.solvers.nearest import neighbours

K = 10  # [ours] neighbours of each image


def nearest_others(features: np.ndarray, *, k: int = K) -> np.ndarray:
    """Find the nearest other images of each image, by cosine similarity.

    Args:
        features: float32 ``[n, d]``, finite, with n of 2 or more.
        k: Neighbours of each image; at most n - 1 are returned.

    Returns:
        int32 ``[n, min(k, n - 1)]``, rows of ``features``, nearest first.
    """
    n = len(features)
    k = min(k, n - 1)
    found, _ = neighbours(features, features, k=k + 1)
    # An image is its own nearest neighbour, unless others are equal to it.
    own = found == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True
    others: np.ndarray = found[~own].reshape(n, k).astype(np.int32)
    return others
