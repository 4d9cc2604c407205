"""Files of an evaluation in the run folder: results.json, predictions.npz."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.config import Config
from simclr_tf2.evaluation.inputs import Splits, shared_images
from simclr_tf2.evaluation.runner import (
    COMPARED_IMAGES,
    Measured,
    limits,
    results_document,
    unlabelled_split,
)
from simclr_tf2.results import (
    comparison,
    label_free_comparison,
)
from simclr_tf2.results import (
    predictions as kept_predictions,
)
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.eval_settings import Merged

logger = logging.getLogger(__name__)


def renew(
    merged: Merged,
    splits: Splits,
    measured: Measured,
    step: int | None,
    best: dict[str, Any],
    others: Sequence[OtherRun] = (),
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished.

    Args:
        merged: Settings of the evaluation.
        splits: Opened splits.
        measured: What was found.
        step: Step of the weights, None for a bare encoder.
        best: What ``--best_metric`` chose; empty without it.
        others: Runs to compare with.
    """
    config = merged.config
    assert config.model_dir is not None
    folder, name = Path(config.model_dir), config.evaluation.eval_name
    path = results_path(folder, name)
    document = results_document(
        config, measured.results, step=step, weights=measured.weights
    )
    if not merged.own:
        document["trained_on"] = merged.trained.data.source
    document |= facts_of_splits(splits)
    document |= measured.others | ({"best": best} if best else {})
    before = read_document(folder, name)
    if before.get("step") == step or step is None:
        kept = ("timings", "finished")
        document |= {key: before[key] for key in kept if key in before}
    run_folder.write_json(path, document)
    keep_predictions(config, folder, measured, splits)
    if others:
        document |= _compared(config, measured, others)
        print(comparison_text(document), flush=True)
        run_folder.write_json(path, document)
    logger.info("%s: all results, with settings and intervals", path)
    return document


@dataclass(frozen=True)
class OtherRun:
    """A run that ``--compare_with`` names.

    Attributes:
        name: Its folder, as given.
        predictions: What it predicted; None where nothing is compared by labels.
        label_free: What it keeps without labels; None where that is not compared.
    """

    name: str
    predictions: kept_predictions.Other | None
    label_free: label_free_comparison.LabelFreeRun | None


def _compared(
    config: Config, measured: Measured, others: Sequence[OtherRun]
) -> dict[str, Any]:
    """Compare with other runs: by predictions, and without labels.

    Returns:
        ``comparison``: run -> "row/protocol" -> record; ``label_free_comparison``: a
        record a run. Each only where there is something to compare.
    """
    found: dict[str, Any] = {}
    tests = {
        other.name: comparison.compare(
            measured.predictions,
            np.asarray(
                other.predictions.labels if measured.labels is None else measured.labels
            ),
            other.predictions,
        )
        for other in others
        if other.predictions is not None
    }
    if tests:
        found["comparison"] = tests
    unlabelled = [other.label_free for other in others if other.label_free]
    if unlabelled and measured.neighbours is not None:
        found["label_free_comparison"] = label_free_comparison.compare(
            measured.others["label_free"],
            measured.neighbours,
            unlabelled,
            name=str(config.model_dir),
        )
    return found


def comparison_text(document: Mapping[str, Any]) -> str:
    """Format what results.json says of other runs; empty if it says nothing."""
    parts = [
        comparison.render(records, name)
        for name, records in document.get("comparison", {}).items()
    ]
    if "label_free_comparison" in document:
        rows = document["label_free_comparison"]
        parts.append(label_free_comparison.render(rows))
    return "\n\n".join(parts)


def results_path(folder: Path, name: str | None) -> Path:
    """Where the numbers of an evaluation are kept."""
    return folder / (f"results_{name}.json" if name else "results.json")


def read_document(folder: Path, name: str | None) -> dict[str, Any]:
    """What an earlier evaluation of this name wrote; empty if nothing readable."""
    try:
        found = json.loads(results_path(folder, name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts_of_splits(splits: Splits) -> dict[str, Any]:
    """What results.json says of images that are both learned from and tested on."""
    shared = shared_images(splits)
    return {"images_in_both_splits": shared} if shared else {}


def keep_predictions(
    config: Config, folder: Path, measured: Measured, splits: Splits
) -> None:
    """Write what ``--compare_with`` reads: predictions, and neighbours of h."""
    name = config.evaluation.eval_name
    if measured.neighbours is not None:
        label_free_comparison.save(
            label_free_comparison.neighbours_path(folder, name),
            measured.neighbours,
            label_free_images(splits),
        )
    if measured.predictions:
        assert measured.labels is not None
        kept_predictions.save_predictions(
            kept_predictions.predictions_path(folder, name),
            measured.predictions,
            measured.labels,
            tested_images(config, splits),
        )


def tested_images(config: Config, splits: Splits) -> dict[str, Any]:
    """Which images the protocols are tested on, as predictions remember them."""
    assert splits.eval is not None
    return kept_predictions.images_of(splits.eval, limits(config)[1])


def label_free_images(splits: Splits) -> dict[str, Any]:
    """Say which images neighbours are kept of."""
    return kept_predictions.images_of(unlabelled_split(splits), COMPARED_IMAGES)
