"""A part of a training split that is never trained on, chosen image by image."""

from __future__ import annotations

import numpy as np

from simclr_tf2.data import datasets, pipeline, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.image_sets import FileSource
from simclr_tf2.errors import ConfigError

LEAST = 2  # images: a pair needs negatives


def hold_out(
    split: Split, fraction: float, *, cache: str = "auto"
) -> tuple[Split, Split | None]:
    """Divide a split into the images to train on and those to measure the loss on.

    A file is held out if a hash of its path below the folder says so, any other image
    if one of its index does: no image changes sides when others come or go.

    Args:
        split: What ``open_split`` gave.
        fraction: Expected part that is held out; 0 for none.
        cache: What is held in memory, as ``make_pretrain_dataset`` takes it.

    Returns:
        (training part, held-out part); the whole split and None for 0.

    Raises:
        ConfigError: Either part would have fewer than two images, or the rest would
            have to be streamed, which works for whole splits only.
    """
    if not fraction:
        return split, None
    mask = is_held_out(split, fraction)
    held, rest = np.flatnonzero(mask), np.flatnonzero(~mask)
    if min(len(held), len(rest)) < LEAST:
        raise ConfigError(
            f"--valid_size={fraction:g} holds out {len(held)} of the {len(mask)} images"
            f" of {split.name}:{split.split}, and either part needs {LEAST} or more; "
            "choose another part, or --valid_size=0"
        )
    train = subset.take(split, rest, name=f"{split.split}, not held out")
    if not pipeline.is_readable_by_index(train, cache):
        raise ConfigError(
            f"--valid_size={fraction:g}: {split.name}:{split.split} takes more than "
            f"{datasets.MEMORY_LIMIT >> 30} GiB and is streamed, which works for whole "
            "splits only; pass --cache=encoded to hold it all the same, or "
            "--valid_size=0"
        )
    return train, subset.take(split, held, name=f"{split.split}, held out")


def is_held_out(split: Split, fraction: float) -> np.ndarray:
    """Return which images of a split are held out, bool [n]."""
    keys = split.source.keys if isinstance(split.source, FileSource) else None
    if keys is None:
        keys = np.arange(split.num_examples, dtype=np.uint64)
    # Mixed: the smallest path hashes of a labelled folder are its validation split.
    return chosen(keys, fraction)


def chosen(keys: np.ndarray, fraction: float) -> np.ndarray:
    """Return about ``fraction`` of the keys, each by a hash of it alone, bool [n]."""
    return _mixed(keys) < np.uint64(fraction * 2**64)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Return another uniform hash of each key, uint64.

    The hash is splitmix64 (Steele et al. 2014).
    """
    x = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)  # wraps around
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
