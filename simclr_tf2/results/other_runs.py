"""Compare new measurements with those that other runs keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2.results import comparison, label_free_comparison
from simclr_tf2.results.predictions import RunPredictions


@dataclass(frozen=True)
class OtherRun:
    """A run that ``--compare_with`` names.

    Attributes:
        name: Its folder, as given.
        predictions: What it predicted; None where nothing is compared by labels.
        label_free: What it keeps without labels; None where that is not compared.
    """

    name: str
    predictions: RunPredictions | None
    label_free: label_free_comparison.LabelFreeRun | None


def compare(
    name: str,
    others: Sequence[OtherRun],
    *,
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    label_free: Mapping[str, Any] | None,
    neighbours: np.ndarray | None,
) -> dict[str, Any]:
    """Compare with other runs: by predictions, and without labels.

    Args:
        name: Of this run.
        others: The other runs.
        predictions: "row/protocol" -> what this run predicted.
        labels: int64 ``[n]`` or ``[n, l]`` of the test images; None without any.
        label_free: The ``label_free`` record of this run.
        neighbours: int32 ``[n, k]`` of this run, or None.

    Returns:
        ``comparison``: run -> "row/protocol" -> record; ``label_free_comparison``: a
        record a run. Each only where there is something to compare.
    """
    found: dict[str, Any] = {}
    tests = {
        other.name: comparison.compare(
            predictions,
            np.asarray(other.predictions.labels if labels is None else labels),
            other.predictions,
        )
        for other in others
        if other.predictions is not None
    }
    if tests:
        found["comparison"] = tests
    unlabelled = [other.label_free for other in others if other.label_free]
    if unlabelled and label_free is not None and neighbours is not None:
        found["label_free_comparison"] = label_free_comparison.compare(
            label_free, neighbours, unlabelled, name=name
        )
    return found


def render(document: Mapping[str, Any]) -> str:
    """Format what results.json says of other runs; empty if it says nothing."""
    parts = [
        comparison.render(records, name)
        for name, records in document.get("comparison", {}).items()
    ]
    if "label_free_comparison" in document:
        rows = document["label_free_comparison"]
        parts.append(label_free_comparison.render(rows))
    return "\n\n".join(parts)
