"""Files of an evaluation in the run folder: results.json, predictions.npz."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.config import Config
from simclr_tf2.training import run_folder
from simclr_tf2.workflows import comparison, kept_predictions
from simclr_tf2.workflows.eval_settings import Merged
from simclr_tf2.workflows.measuring import Measured, limits, results_document
from simclr_tf2.workflows.splits import Splits, shared_images

logger = logging.getLogger(__name__)


def renew(
    merged: Merged,
    splits: Splits,
    measured: Measured,
    step: int | None,
    best: dict[str, Any],
    other: kept_predictions.Other | None,
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished."""
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
    if other is not None:
        labels = measured.labels if measured.labels is not None else other.labels
        document["comparison"] = comparison.compare(
            measured.predictions, np.asarray(labels), other
        )
        print(comparison.render(document["comparison"], other.name), flush=True)
        run_folder.write_json(path, document)
    logger.info("%s: all results, with settings and intervals", path)
    return document


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
    """Write what was predicted for every test image, for ``--compare_with``."""
    if measured.predictions:
        assert measured.labels is not None
        kept_predictions.save_predictions(
            kept_predictions.predictions_path(folder, config.evaluation.eval_name),
            measured.predictions,
            measured.labels,
            tested_images(config, splits),
        )


def tested_images(config: Config, splits: Splits) -> dict[str, Any]:
    """Which images the protocols are tested on, as predictions remember them."""
    assert splits.eval is not None
    return kept_predictions.images_of(splits.eval, limits(config)[1])
