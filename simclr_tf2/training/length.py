"""The step at which a run ends, also where its images are no longer there."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from simclr_tf2.config import ConfigError
from simclr_tf2.evaluation.inputs import Splits, open_split
from simclr_tf2.runs.eval_settings import Merged
from simclr_tf2.training import session
from simclr_tf2.training.labelled import training_images

logger = logging.getLogger(__name__)


def last_step(merged: Merged, folder: Path, splits: Splits) -> int | None:
    """The last step of the run; None where nothing tells.

    Args:
        merged: Settings of the evaluation.
        folder: The run folder.
        splits: What is measured: of the run's own data set, or of another.
    """
    trained = merged.trained
    if trained.training.train_steps:
        return trained.training.train_steps
    data = merged.config.data
    if merged.own and data.train_split == trained.data.train_split:
        return session.steps_of(trained, training_images(trained, splits.train))
    finished = _finished_step(folder)
    if finished is not None:
        return finished
    place = data.data_dir if "data_dir" in merged.asked else trained.data.data_dir
    there = dataclasses.replace(
        trained,
        data=dataclasses.replace(trained.data, data_dir=place, download=False),
    )
    try:
        images = open_split(there, trained.data.train_split)
    except ConfigError as error:
        logger.warning(
            "measuring the newest checkpoint once: cannot determine the run's last "
            "step without its training data (%s)",
            error,
        )
        return None
    return session.steps_of(trained, training_images(trained, images))


def _finished_step(folder: Path) -> int | None:
    """The step of a run that has ended, as it wrote it down."""
    try:
        document = json.loads((folder / "results.json").read_text())
        return int(document["step"]) if document.get("finished") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
