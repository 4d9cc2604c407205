"""Two runs on the same test images: is one better, or is it luck?

Labels are compared image by image with McNemar's exact test. What is no proportion is
compared by a permutation test of paired values: images for means over classes and over
draws of few labels, classes for average precisions.
"""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.config import ConfigError
from simclr_tf2.metrics import significance

logger = logging.getLogger(__name__)

LABELS = "labels"
SEED = 0  # of the permutations


def predictions_path(folder: Path, name: str | None) -> Path:
    """Where the predictions of an evaluation are kept."""
    return folder / (f"predictions_{name}.npz" if name else "predictions.npz")


def save_predictions(
    path: Path, predictions: dict[str, np.ndarray], labels: np.ndarray
) -> None:
    """Keep what was predicted for every test image, and what it is.

    Args:
        path: An .npz file, written whole or not at all.
        predictions: "row/protocol" -> int64 labels ``[n]``, or ``[n, draws]``; or
            float64 ``[c]``, a number per class.
        labels: int64 ``[n]`` or ``[n, l]``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
    try:
        arrays: dict[str, Any] = {LABELS: labels, **predictions}
        np.savez_compressed(temporary, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def compare(folder: Path, other: str, *, name: str | None) -> dict[str, dict[str, Any]]:
    """A test of the difference for every row and protocol that both runs have.

    Args:
        folder: This run, just evaluated.
        other: Another run folder, evaluated on the same images.
        name: ``--eval_name`` of both.

    Returns:
        "row/protocol" -> ``here`` and ``there``, their ``difference``, ``test`` and
        its two-sided ``p_value``; of labels also how many images only one of them got
        right, and ``mean_per_class`` with the same of its own.

    Raises:
        ConfigError: The other run has no predictions, or of other images.
    """
    ours = _load(predictions_path(folder, name), folder)
    theirs = _load(predictions_path(Path(other), name), Path(other))
    if not np.array_equal(ours[LABELS], theirs[LABELS]):
        raise ConfigError(
            f"--compare_with={other}: its predictions are of other test images; "
            "evaluate both runs with the same --eval_split"
        )
    found = {}
    for key in [k for k in ours if k in theirs and k != LABELS]:
        if ours[key].shape == theirs[key].shape:
            found[key] = _tested(ours[key], theirs[key], ours[LABELS])
    if not found:
        raise ConfigError(f"--compare_with={other}: the runs share no protocol")
    return found


def _tested(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The test that fits what was kept of a protocol."""
    if ours.dtype.kind == "f":
        both = np.isfinite(ours) & np.isfinite(theirs)
        return _permuted(ours[both], theirs[both], "classes")
    right, right_there = (
        predicted == (labels if predicted.ndim == 1 else labels[:, None])
        for predicted in (ours, theirs)
    )
    if right.ndim == 2:  # several draws of few labels: the share that is right
        return _permuted(right.mean(axis=1), right_there.mean(axis=1), "images")
    # Weights that make the mean over images the mean over classes.
    classes, columns, counts = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    weights = len(labels) / (len(classes) * counts[columns])
    return {
        "here": float(right.mean()),
        "there": float(right_there.mean()),
        "test": "McNemar, exact",
        **significance.mcnemar(right, right_there),
        "mean_per_class": _permuted(right * weights, right_there * weights, "images"),
    }


def _permuted(ours: np.ndarray, theirs: np.ndarray, what: str) -> dict[str, Any]:
    return {
        "here": float(ours.mean()),
        "there": float(theirs.mean()),
        "test": f"permutation of {len(ours)} {what}",
        **significance.permutation_test(ours, theirs, seed=SEED),
    }


def render(found: dict[str, dict[str, Any]], other: str) -> str:
    """The comparison as aligned plain text."""
    rows: dict[str, dict[str, Any]] = {}
    for key, record in found.items():
        rows[key] = record
        mean = record.get("mean_per_class")
        if mean and abs(mean["here"] - record["here"]) > 5e-5:
            rows[f"{key}, mean per class"] = mean
    title = f"against {other}"
    width = max(map(len, [title, *rows]))
    lines = [f"{title:<{width}}    here   there   only here / there       p"]
    for key, r in rows.items():
        counts = f"{r['only_a']} / {r['only_b']}" if "only_a" in r else "-"
        mark = "" if "only_a" in r else "*"
        lines.append(
            f"{key:<{width}}  {100 * r['here']:6.1f}  {100 * r['there']:6.1f}   "
            f"{counts:>17}  {r['p_value']:6.4f}{mark}"
        )
    lines.append("p: exact McNemar test, two-sided")
    if any("only_a" not in r for r in rows.values()):
        lines.append("* permutation test of paired images, or classes for mAP")
    return "\n".join(lines)


def _load(path: Path, folder: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} keeps no {path.name}; measure it first: --mode=eval "
            f"--model_dir={folder}"
        ) from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
