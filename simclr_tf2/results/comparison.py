"""Compare two trained networks on the same test images.

Labels are compared image by image with McNemar's exact test. What is no proportion is
compared by a permutation test of paired values: images for means over classes and over
draws of few labels, classes for average precisions.

Both tests take the two networks as they are and ask whether they would differ on other
images like these. How much a recipe varies from seed to seed is in neither, so a small
p value does not say that one recipe is better than the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.metrics import significance
from simclr_tf2.protocols import with_chosen_features
from simclr_tf2.results.predictions import RunPredictions

SEED = 0  # of the permutations
ABOUT = "these two trained networks on images like these, not their recipes or seeds"


def check(
    other: RunPredictions, keys: Collection[str], images: Mapping[str, Any]
) -> None:
    """Check that ``compare`` can compare what is about to be measured.

    Args:
        other: The other run.
        keys: "row/protocol" of what will be predicted.
        images: Of which images, as ``images_of`` says.

    Raises:
        ConfigError: Predictions of other images, or of no common protocol.
    """
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
            f"--compare_with={other.name}: {_nothing_shared(keys, other)}"
        )


def _nothing_shared(keys: Collection[str], other: RunPredictions) -> str:
    """Return why no row and protocol of the two runs is the same."""
    here, there = _names(keys), _names(other.predictions)
    common = set(here) & set(there)
    if common:
        hint = "; evaluate both runs with the same --svm_features"
        return (
            "the runs share no protocol of one row: there "
            f"{', '.join(other.predictions)}, here {', '.join(keys)}"
            f"{hint if common & set(with_chosen_features()) else ''}"
        )
    return (
        f"the runs share no protocol: there {', '.join(there) or 'none'}, here "
        f"{', '.join(here) or 'none'}"
    )


def _names(keys: Collection[str]) -> list[str]:
    return list(dict.fromkeys(key.split("/")[-1] for key in keys))


def compare(
    predictions: Mapping[str, np.ndarray], labels: np.ndarray, other: RunPredictions
) -> dict[str, dict[str, Any]]:
    """Test the difference for every row and protocol that both runs have.

    Args:
        predictions: What was just predicted, as ``save_predictions`` takes it.
        labels: int64 ``[n]`` or ``[n, l]`` of the test images.
        other: Another run, evaluated on the same images.

    Returns:
        "row/protocol" -> ``here`` and ``there``, their ``difference``, ``test`` and
        its two-sided ``p_value``, and what that is ``about``; of labels also how many
        images only one of them got right, and ``mean_per_class`` with the same of its
        own.

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
        raise ConfigError(
            f"--compare_with={other.name}: {_nothing_shared(predictions, other)}"
        )
    return found


def _tested(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Run the test that fits what was kept of a protocol."""
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
        "about": ABOUT,
        **significance.mcnemar(right, right_there),
        "mean_per_class": _permuted(right * weights, right_there * weights, "images"),
    }


def _permuted(ours: np.ndarray, theirs: np.ndarray, what: str) -> dict[str, Any]:
    return {
        "here": float(ours.mean()),
        "there": float(theirs.mean()),
        "test": f"permutation of {len(ours)} {what}",
        "about": ABOUT,
        **significance.permutation_test(ours, theirs, seed=SEED),
    }


def render(found: dict[str, dict[str, Any]], other: str) -> str:
    """Format the comparison as aligned plain text."""
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
    lines.append(f"p is about {ABOUT}")
    return "\n".join(lines)
