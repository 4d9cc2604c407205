"""Two runs on the same test images: is one better, or is it luck?"""

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


def predictions_path(folder: Path, name: str | None) -> Path:
    """Where the predictions of an evaluation are kept."""
    return folder / (f"predictions_{name}.npz" if name else "predictions.npz")


def save_predictions(
    path: Path, predictions: dict[str, np.ndarray], labels: np.ndarray
) -> None:
    """Keep what was predicted for every test image, and what it is.

    Args:
        path: An .npz file, written whole or not at all.
        predictions: "row/protocol" -> labels [n].
        labels: int64 [n].
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
    try:
        arrays: dict[str, Any] = {LABELS: labels, **predictions}
        np.savez_compressed(temporary, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def compare(folder: Path, other: str, *, name: str | None) -> dict[str, dict[str, Any]]:
    """McNemar's test for every row and protocol that both runs have.

    Args:
        folder: This run, just evaluated.
        other: Another run folder, evaluated on the same images.
        name: ``--eval_name`` of both.

    Returns:
        "row/protocol" -> accuracies of both, their difference, how many images only one
        of them got right, and the two-sided p value.

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
        if ours[key].ndim != 1:
            continue
        right, right_there = (run[key] == run[LABELS] for run in (ours, theirs))
        found[key] = {
            "here": float(right.mean()),
            "there": float(right_there.mean()),
            **significance.mcnemar(right, right_there),
        }
    if not found:
        raise ConfigError(f"--compare_with={other}: the runs share no protocol")
    return found


def render(found: dict[str, dict[str, Any]], other: str) -> str:
    """The comparison as aligned plain text."""
    width = max(len(key) for key in found)
    lines = [
        f"{'against ' + other:<{width}}    here   there   only here / there       p"
    ]
    for key, r in found.items():
        counts = f"{r['only_a']} / {r['only_b']}"
        lines.append(
            f"{key:<{width}}  {100 * r['here']:6.1f}  {100 * r['there']:6.1f}   "
            f"{counts:>17}  {r['p_value']:6.4f}"
        )
    return "\n".join([*lines, "p: exact McNemar test, two-sided"])


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
