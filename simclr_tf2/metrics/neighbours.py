"""Compare the nearest neighbours that two representations give."""

from __future__ import annotations

import numpy as np

from simclr_tf2.errors import ConfigError


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean share of neighbours that two representations have in common.

    Args:
        first: int ``[n, k]`` of ``nearest_others``.
        second: int ``[n, k]`` of the same images in the same order.

    Returns:
        In [0, 1]; 1 if every image has the same neighbours, in any order. Unrelated
        representations have k / (n - 1) in the mean.

    Raises:
        ConfigError: The shapes differ.
    """
    if first.shape != second.shape:
        raise ConfigError(
            "neighbours of two representations must be of the same images. "
            f"Received: shapes {first.shape} and {second.shape}."
        )
    common = [
        len(np.intersect1d(a, b, assume_unique=True))
        for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean(common) / first.shape[1])
