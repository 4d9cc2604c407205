"""What can be said of a representation where no image has a label."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.config import ConfigError

logger = logging.getLogger(__name__)

ROWS = 4096  # [ours] pairs among so many rows: n x n floats are 64 MiB
CAVEATS = (
    "no number here is an accuracy; compare only runs with the same images, "
    "augmentations and dimensions",
    "alignment alone is best (0) for a collapsed encoder: read it with uniformity",
    "RankMe is at most min(images, dimensions) and grows with the number of images",
)


def label_free(
    h: np.ndarray,
    z: np.ndarray,
    *,
    h_other: np.ndarray | None = None,
    z_other: np.ndarray | None = None,
    seed: int = 0,
    rows: int = ROWS,
) -> dict[str, Any]:
    """Spread, rank and alignment of representations h and projections z.

    Uniformity and RankMe read at most ``rows`` images, drawn without replacement from
    the seed (their cost grows with the square of the number); the rest read all.

    Args:
        h: ``[n, d]``, n of 2 or more, finite.
        z: ``[n, e]`` of the same images in the same order.
        h_other: ``[n, d]`` of another augmented view of each image, for the alignment.
        z_other: ``[n, e]``, likewise.
        seed: Of the choice of rows.
        rows: 2 or more.

    Returns:
        Ready for JSON: for h and z each ``{name}_std`` (1 / sqrt(d) if evenly spread,
        given as ``{name}_std_if_even``, 0 if collapsed), ``{name}_uniformity``,
        ``{name}_rankme`` and its bound ``{name}_rankme_max``, ``{name}_alignment``
        (with another view); ``images``, ``images_for_pairs``, ``seed``, ``caveats``.

    Raises:
        ConfigError: Fewer than two images, arrays that do not fit together or are not
            finite, ``rows`` below 2.
    """
    if rows < 2:
        raise ConfigError(f"rows must be 2 or more. Received: {rows}.")
    h, z = _matrix(h, "h"), _matrix(z, "z")
    if len(h) != len(z):
        raise ConfigError(
            f"h and z must be of the same images. Received: {len(h)} and {len(z)} rows."
        )
    count = min(rows, len(h))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(h))[:count])
    result: dict[str, Any] = {}
    for name, first, second in (("h", h, h_other), ("z", z, z_other)):
        result |= {
            f"{name}_{key}": value
            for key, value in _measures(first, second, chosen, name).items()
        }
    return result | {
        "images": len(h),
        "images_for_pairs": count,
        "seed": seed,
        "caveats": list(CAVEATS),
    }


def _measures(
    first: np.ndarray, second: np.ndarray | None, chosen: np.ndarray, name: str
) -> dict[str, float]:
    part = tf.constant(first[chosen])
    found = {
        "std": embedding_std_of_all(first),
        "std_if_even": 1 / math.sqrt(first.shape[1]),
        "uniformity": float(metrics.uniformity(part)),
        "rankme": float(metrics.rankme(part)),
        "rankme_max": float(min(part.shape)),
    }
    if second is not None:
        second = _matrix(second, f"the other view of {name}")
        if second.shape != first.shape:
            raise ConfigError(
                f"both views of {name} must have one shape. "
                f"Received: {first.shape} and {second.shape}."
            )
        found["alignment"] = alignment_of_all(first, second)
    return found


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise ConfigError(
            f"{name} must be [n, d] with 2 images or more. Received: {values.shape}."
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ConfigError(
            f"{int(bad.sum())} of {len(values)} rows of {name} are not finite; the "
            "encoder has diverged, use an earlier checkpoint"
        )
    return values
