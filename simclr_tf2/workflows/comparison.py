"""Two runs on the same test images: is one better, or is it luck?

Labels are compared image by image with McNemar's exact test. What is no proportion is
compared by a permutation test of paired values: images for means over classes and over
draws of few labels, classes for average precisions.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.config import ConfigError
from simclr_tf2.data.datasets import Split
from simclr_tf2.metrics import significance

LABELS, IMAGES = "labels", "images"  # beside the predictions
DIGESTED = 64  # [ours] images that say which data set this is
SEED = 0  # of the permutations


def predictions_path(folder: Path, name: str | None) -> Path:
    """Where the predictions of an evaluation are kept."""
    return folder / (f"predictions_{name}.npz" if name else "predictions.npz")


def save_predictions(
    path: Path,
    predictions: dict[str, np.ndarray],
    labels: np.ndarray,
    images: Mapping[str, Any] | None = None,
) -> None:
    """Keep what was predicted for every test image, and what it is.

    Args:
        path: An .npz file, written whole or not at all.
        predictions: "row/protocol" -> int64 labels ``[n]``, or ``[n, draws]``; or
            float64 ``[c]``, a number per class.
        labels: int64 ``[n]`` or ``[n, l]``.
        images: Which images these are, as ``images_of`` says.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
    try:
        arrays: dict[str, Any] = {LABELS: labels, **predictions}
        if images is not None:
            arrays[IMAGES] = np.array(json.dumps(images))
        np.savez_compressed(temporary, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def images_of(split: Split, limit: int | None) -> dict[str, Any]:
    """Which images are tested on: names for people, and a digest to compare.

    The digest is of the first images' bytes as they are stored, so that a data set is
    the same in another folder too.

    Args:
        split: The evaluation split.
        limit: At most so many images of it; None for all.
    """
    count = min(split.num_examples, limit or split.num_examples)
    digest = hashlib.blake2b(digest_size=16)
    for example in split.as_dataset().take(min(count, DIGESTED)).as_numpy_iterator():
        stored = example["image"]
        digest.update(stored if isinstance(stored, bytes) else stored.tobytes())
    return {
        "dataset": split.name,
        "split": split.split,
        "count": count,
        "digest": digest.hexdigest(),
    }


@dataclass(frozen=True)
class Other:
    """What another run predicted.

    Attributes:
        name: Its folder, as given.
        labels: int64 ``[n]`` or ``[n, l]`` of the test images.
        predictions: As ``save_predictions`` takes them.
        images: Which images these are; None where its file does not say.
    """

    name: str
    labels: np.ndarray
    predictions: dict[str, np.ndarray]
    images: dict[str, Any] | None


def load(other: str, *, name: str | None) -> Other:
    """Read the predictions of another run.

    Args:
        other: Its folder.
        name: ``--eval_name`` of both.

    Raises:
        ConfigError: It has none, or they cannot be read.
    """
    path = predictions_path(Path(other), name)
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        images = json.loads(str(arrays.pop(IMAGES))) if IMAGES in arrays else None
        return Other(other, arrays.pop(LABELS), arrays, images)
    except FileNotFoundError:
        raise ConfigError(
            f"--compare_with={other} keeps no {path.name}; measure it first, with "
            f"--mode=eval --model_dir={other} and the other flags of this command"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def check(other: Other, keys: Collection[str], images: Mapping[str, Any]) -> None:
    """Whether ``compare`` will have something to say of what is about to be measured.

    Args:
        other: The other run.
        keys: "row/protocol" of what will be predicted.
        images: Of which images, as ``images_of`` says.

    Raises:
        ConfigError: No predictions, of other images, or of no common protocol.
    """
    if not keys:
        raise ConfigError(
            f"--compare_with={other.name} compares predictions, and none of the "
            "--protocols keeps any; add one such as knn or logreg"
        )
    there = other.images or {"count": len(other.labels)}
    if any(there[key] != images[key] for key in ("count", "digest") if key in there):
        names = [
            f"{found['dataset']}:{found['split']} ({found['count']} images)"
            if "dataset" in found
            else f"{found['count']} images"
            for found in (there, images)
        ]
        raise ConfigError(
            f"--compare_with={other.name}: its predictions are of other test images: "
            f"there {names[0]}, here {names[1]}; evaluate both runs with the same "
            "--dataset, --eval_split and --eval_steps"
        )
    if not set(keys) & set(other.predictions):
        raise ConfigError(
            f"--compare_with={other.name}: the runs share no protocol: there "
            f"{_names(other.predictions)}, here {_names(keys)}"
        )


def _names(keys: Collection[str]) -> str:
    return ", ".join(dict.fromkeys(key.split("/")[-1] for key in keys)) or "none"


def compare(
    predictions: Mapping[str, np.ndarray], labels: np.ndarray, other: Other
) -> dict[str, dict[str, Any]]:
    """A test of the difference for every row and protocol that both runs have.

    Args:
        predictions: What was just predicted, as ``save_predictions`` takes it.
        labels: int64 ``[n]`` or ``[n, l]`` of the test images.
        other: Another run, evaluated on the same images.

    Returns:
        "row/protocol" -> ``here`` and ``there``, their ``difference``, ``test`` and
        its two-sided ``p_value``; of labels also how many images only one of them got
        right, and ``mean_per_class`` with the same of its own.

    Raises:
        ConfigError: The other run's predictions are of other images, or share nothing.
    """
    if not np.array_equal(labels, other.labels):
        raise ConfigError(
            f"--compare_with={other.name}: its predictions are of other test images; "
            "evaluate both runs with the same --eval_split"
        )
    found = {
        key: _tested(ours, other.predictions[key], labels)
        for key, ours in predictions.items()
        if key in other.predictions and ours.shape == other.predictions[key].shape
    }
    if not found:
        raise ConfigError(f"--compare_with={other.name}: the runs share no protocol")
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
