"""Which labelled images a semi-supervised run may use: drawn, kept, checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError


def balanced_subset(
    labels: np.ndarray,
    *,
    seed: int,
    fraction: float | None = None,
    count: int | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """Choose images, balanced over the classes (SimCLR, appendix B.5).

    Each class is drawn with a generator of its own, keyed by seed and label, from its
    images in order: what other classes look like changes nothing, and a larger share
    with the same seed contains a smaller one.

    Args:
        labels: int ``[n]``, 0 or more.
        seed: 0 or more.
        fraction: In (0, 1]: round(fraction x images of the class), at least 1.
        count: Images per class, 1 or more. Give exactly one of the two.
        num_classes: If given, every class from 0 to ``num_classes`` - 1 must occur.

    Returns:
        int64 ``[k]``, sorted.

    Raises:
        ConfigError: Labels missing or not of one class per image, a class missing or
            with fewer images than ``count``, numbers out of range.
    """
    labels = _single_label(labels)
    _require_share(fraction, count)
    _require_classes(labels, num_classes)
    order = np.argsort(labels, kind="stable")
    classes, starts, sizes = np.unique(
        labels[order], return_index=True, return_counts=True
    )
    chosen = []
    for label, first, size in zip(
        classes.tolist(), starts.tolist(), sizes.tolist(), strict=True
    ):
        wanted = count if count is not None else max(1, round((fraction or 0) * size))
        if wanted > size:
            raise ConfigError(
                f"class {label} has {size} labelled image(s), fewer than the {wanted} "
                "per class asked for; ask for fewer"
            )
        drawn = np.random.default_rng([seed, label]).permutation(size)[:wanted]
        chosen.append(order[first + drawn])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Choice of images, as kept in a run's folder.

    Attributes:
        indices: Sorted positions in the data set.
        seed: Of the draw.
        fraction: As asked for, or None.
        count: As asked for, or None.
        examples: Of the whole data set.
        labels_digest: Of all its labels in order (``labels_digest``).
    """

    indices: list[int]
    seed: int
    fraction: float | None
    count: int | None
    examples: int
    labels_digest: str


def labels_digest(labels: np.ndarray) -> str:
    """Return the SHA-256 of the labels in order, to notice another set or order."""
    return hashlib.sha256(np.asarray(labels).astype("<i8").tobytes()).hexdigest()


def save_subset(
    path: str | Path,
    indices: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    fraction: float | None = None,
    count: int | None = None,
) -> None:
    """Write a choice and what it was made from as JSON.

    Args:
        path: File to write, over an older one.
        indices: What ``balanced_subset`` returned.
        labels: What ``balanced_subset`` was given, ``[n]``.
        seed: The seed that it was given.
        fraction: The fraction that it was given, or None.
        count: The images per class that it was given, or None.
    """
    subset = Subset(
        indices=np.asarray(indices).tolist(),
        seed=seed,
        fraction=fraction,
        count=count,
        examples=len(labels),
        labels_digest=labels_digest(labels),
    )
    files.write_text(Path(path), json.dumps(asdict(subset)) + "\n")


def load_subset(
    path: str | Path,
    labels: np.ndarray,
    *,
    seed: int | None = None,
    fraction: float | None = None,
    count: int | None = None,
) -> np.ndarray:
    """Load the indices of a saved choice, if it was made from these labels.

    Args:
        path: What ``save_subset`` wrote.
        labels: int ``[n]`` of the data set at hand.
        seed: If given, the seed that the file must have been drawn with.
        fraction: The fraction that the file must have been drawn with; it is compared
            if ``fraction`` or ``count`` is given.
        count: The images per class that the file must have been drawn with; compared
            like ``fraction``.

    Returns:
        int64 ``[k]``, sorted.

    Raises:
        ConfigError: No such file, not such a file, made from other labels or drawn
            otherwise than asked for.
    """
    try:
        subset = Subset(**json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the subset {path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a saved subset; delete it to draw a new one"
        ) from error
    if subset.examples != len(labels) or subset.labels_digest != labels_digest(labels):
        raise ConfigError(
            f"{path} was drawn from another data set, or its images are in another "
            f"order: {subset.examples} labels then, {len(labels)} now, and they differ;"
            " use the same data or delete the file"
        )
    drawn = (subset.fraction, subset.count)
    asked = (fraction, count)
    if (seed not in (None, subset.seed)) or (asked not in ((None, None), drawn)):
        raise ConfigError(
            f"{path} was drawn with seed {subset.seed}, fraction {subset.fraction}, "
            f"count {subset.count}; use those, or delete the file to draw anew"
        )
    indices = np.asarray(subset.indices)
    if not _valid_indices(indices, len(labels)):
        raise ConfigError(f"{path} is not a saved subset; delete it to draw a new one")
    return indices.astype(np.int64)


def _valid_indices(indices: np.ndarray, count: int) -> bool:
    return bool(
        indices.ndim == 1
        and indices.dtype.kind == "i"
        and len(indices)
        and indices[0] >= 0
        and indices[-1] < count
        and (np.diff(indices) > 0).all()
    )


def _single_label(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConfigError(
            "a class-balanced subset needs one whole-number label per image [n]. "
            f"Received: {labels.dtype} {labels.shape}."
        )
    missing = int((labels < 0).sum())
    if missing or not len(labels):
        raise ConfigError(
            f"{missing} of {len(labels)} images have no label; a class-balanced subset "
            "needs one or more images and a label for each"
        )
    return labels.astype(np.int64)


def _require_share(fraction: float | None, count: int | None) -> None:
    if (fraction is None) == (count is None):
        raise ConfigError(
            "a subset needs either a fraction or a count per class. "
            f"Received: fraction={fraction}, count={count}."
        )
    if fraction is not None and not 0 < fraction <= 1:
        raise ConfigError(
            f"the labelled fraction must be above 0, at most 1. Received: {fraction}."
        )
    if count is not None and count < 1:
        raise ConfigError(
            f"the labelled images per class must be 1 or more. Received: {count}."
        )


def _require_classes(labels: np.ndarray, num_classes: int | None) -> None:
    found = np.unique(labels)
    if len(found) < 2:
        raise ConfigError(
            f"all {len(labels)} labelled images are of one class (label {found[0]}); "
            "a class-balanced subset needs two"
        )
    if num_classes is None:
        return
    missing = np.setdiff1d(np.arange(num_classes), found)
    if len(missing):
        raise ConfigError(
            f"{len(missing)} of {num_classes} classes have no labelled image "
            f"(first: class {missing[0]}); use a training split with all classes"
        )
    if found[-1] >= num_classes:
        raise ConfigError(
            f"labels must be from 0 to {num_classes - 1}. Received: {found[-1]}."
        )
