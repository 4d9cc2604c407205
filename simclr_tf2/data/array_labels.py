"""Labels of arrays, in whatever form people keep them, as class numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simclr_tf2.data import once
from simclr_tf2.errors import ConfigError

NONE = -1  # no label
_NO_TEXT = ("", "-1")  # the same in words


@dataclass(frozen=True)
class Labels:
    """Labels of all splits of a data set.

    Attributes:
        by_split: Split -> int64 [n], class numbers; or [n, l], yes-or-no labels (1, 0
            and -1).
        num_classes: Classes, or yes-or-no labels.
        class_names: In label order; () where classes are known by number only.
    """

    by_split: dict[str, np.ndarray]
    num_classes: int
    class_names: tuple[str, ...] = ()


def read(arrays: Mapping[str, np.ndarray], *, name: str) -> Labels:
    """Read the labels of every split, by one rule for all of them.

    Whole numbers are class numbers whatever their type; if no label is 0, the values
    become classes in their order, named by them. Text becomes classes sorted by name,
    those of ``train`` first. Rows of which each has a single 1 are one-hot. -1, NaN and
    empty text are "no label".

    Args:
        arrays: Split -> labels [n], [n, 1] or [n, l].
        name: The data set, for messages.

    Raises:
        ConfigError: Labels that are none of these.
    """
    found = {split: _flat(np.asarray(a), name) for split, a in arrays.items()}
    kinds = {"U" if a.dtype.kind in "US" else str(a.ndim) for a in found.values()}
    if len(kinds) > 1:
        raise ConfigError(
            f"labels of {name} have another form in each split; save all as class "
            "numbers, all as text, or all as rows"
        )
    if kinds == {"U"}:
        return _from_text(found)
    numbers = {split: _whole(array, name) for split, array in found.items()}
    if kinds == {"2"}:
        return _from_rows(numbers, name)
    return _from_numbers(numbers, name)


def _flat(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    text = labels.dtype.kind in "US" and labels.ndim == 1
    if text or (labels.dtype.kind in "biuf" and labels.ndim in (1, 2)):
        return labels
    shape = "x".join(map(str, labels.shape))
    raise ConfigError(
        f"labels of {name} have type {labels.dtype} and shape {shape}; save one number "
        "or name an image, or a row of numbers"
    )


def _from_text(arrays: Mapping[str, np.ndarray]) -> Labels:
    texts = {split: _as_text(array) for split, array in arrays.items()}
    names = sorted(set(texts.get("train", [])) - set(_NO_TEXT))
    every = {text for array in texts.values() for text in array}
    names += sorted(every - set(names) - set(_NO_TEXT))
    ids = dict.fromkeys(_NO_TEXT, NONE) | {text: i for i, text in enumerate(names)}
    by_split = {
        split: np.array([ids[text] for text in array], np.int64)
        for split, array in texts.items()
    }
    return Labels(by_split, len(names), tuple(names))


def _as_text(labels: np.ndarray) -> list[str]:
    text = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    words: list[str] = np.char.strip(text).tolist()
    return words


def _whole(labels: np.ndarray, name: str) -> np.ndarray:
    """Convert whole numbers of any type to int64."""
    if labels.dtype.kind != "f":
        return labels.astype(np.int64)
    filled = np.where(np.isnan(labels), NONE, labels)
    if not (filled == np.rint(filled)).all():
        what = "soft labels" if labels.ndim == 2 else "measurements"
        hint = "labels.argmax(1)" if labels.ndim == 2 else "class numbers"
        raise ConfigError(
            f"labels of {name} are fractions ({what}?), and a classifier needs one "
            f"class an image; save {hint}, or leave the labels out"
        )
    return filled.astype(np.int64)


def _from_rows(arrays: Mapping[str, np.ndarray], name: str) -> Labels:
    """Read one-hot rows, or several yes-or-no labels an image."""
    every = np.concatenate(list(arrays.values()))
    if not np.isin(every, (NONE, 0, 1)).all():
        raise ConfigError(
            f"rows of labels of {name} must hold 1, 0 and -1 (not known) only; save "
            "one class number an image instead"
        )
    count = every.shape[1]
    if not ((every == 1).sum(1) == 1).all() or (every == NONE).any():
        return Labels(dict(arrays), count)
    once.tell(f"{name}: one-hot labels, read as {count} classes")
    return Labels({s: a.argmax(1).astype(np.int64) for s, a in arrays.items()}, count)


def _from_numbers(arrays: Mapping[str, np.ndarray], name: str) -> Labels:
    every = np.concatenate(list(arrays.values()))
    if every.size and every.min() < NONE:
        raise ConfigError(
            f"labels of {name} go down to {every.min()}; class numbers are 0 or more, "
            "and -1 is no label"
        )
    values = np.unique(every[every >= 0])
    if not values.size or values[0] == 0:
        return Labels(dict(arrays), int(values[-1]) + 1 if values.size else 0)
    once.tell(
        f"{name}: no label is 0: the {len(values)} values from {values[0]} to "
        f"{values[-1]} are the classes"
    )
    by_split = {
        split: np.where(array < 0, NONE, np.searchsorted(values, array))
        for split, array in arrays.items()
    }
    return Labels(by_split, len(values), tuple(map(str, values.tolist())))
