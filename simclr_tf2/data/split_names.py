"""The usual names of splits, and the spellings of them in folders, files and flags."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}
# Words that folders put beside the split: train_images, ILSVRC2012_img_val, test_set.
_FILLERS = frozenset(
    "set split data dataset image images img imgs pictures photos seg ilsvrc".split()
)


def normalize_split(name: str) -> str:
    """Return a split's usual name ("val" -> "validation"); others are kept."""
    return SPLIT_NAMES.get(name.strip().lower(), name)


def folder_split(name: str) -> str | None:
    """Return the split that a folder's name stands for, or None.

    The word may have a number and general words beside it: ``train2017``,
    ``val_images``, ``ILSVRC2012_img_val``, ``testset``. Any other word makes it a name
    of something else (``train_station``).
    """
    words = re.findall(r"[a-z]+|[^\W\d_]+", name.lower())
    words = [word for word in words if word not in _FILLERS]
    if len(words) != 1:
        return None
    word = words[0]
    return SPLIT_NAMES.get(word) or SPLIT_NAMES.get(word.removesuffix("set"))


def is_plain(name: str) -> bool:
    """Return whether a folder's name is only a split's name ("Val", not "val2017")."""
    return name.lower() in SPLIT_NAMES


def spelled_as(spec: str, known: Iterable[str]) -> str:
    """Write the splits of ``spec`` as a data set spells them.

    Args:
        spec: Splits, slices of splits, or a sum of these ("val[:50%]+test").
        known: Splits of the data set.

    Returns:
        ``spec``; a name that is not in ``known`` is replaced where exactly one that is
        has the same usual name (``val`` where the set has ``validation``).
    """
    names = list(known)

    def known_name(match: re.Match[str]) -> str:
        name = match.group()
        same = [k for k in names if normalize_split(k) == normalize_split(name)]
        return same[0] if name not in names and len(same) == 1 else name

    parts = spec.split("+")
    return "+".join(re.sub(r"^\s*[^\[\s]+", known_name, part) for part in parts)
