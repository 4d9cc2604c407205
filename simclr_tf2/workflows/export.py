"""Write the encoder for others: encoder.keras and the TF Hub SavedModel."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from simclr_tf2 import addresses, models, saved_model
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports import model_card
from simclr_tf2.exports.formats import CLASSIFIER_FORMATS, write_exports
from simclr_tf2.results import document
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.restoring import restore_model
from simclr_tf2.workflows import classifiers

logger = logging.getLogger(__name__)


def export(config: Config) -> dict[str, Any]:
    """Run ``--mode=export``: export the newest readable checkpoint of a run.

    With ``--checkpoint`` it is one of the reference code, and ``--model_dir`` is where
    the exports go.

    Raises:
        ConfigError: No run there, no readable checkpoint, or nothing to export.
    """
    if not config.model_dir:
        raise ConfigError("--mode=export needs --model_dir: the folder of a run")
    if not config.export.export_formats:
        raise ConfigError("--mode=export with empty --export_formats has nothing to do")
    folder = addresses.local(config.model_dir)
    classifier = None
    training = model_card.Training()
    if config.training.checkpoint:
        if CLASSIFIER_FORMATS.issuperset(config.export.export_formats):
            raise ConfigError(
                f"--export_formats={','.join(config.export.export_formats)} is for "
                "fine-tuned runs of this program; export a checkpoint of "
                "google-research/simclr as keras or saved_model"
            )
        model, step = convert(config, config.training.checkpoint, folder)
    else:
        trained = run_folder.read_config(folder)
        config = dataclasses.replace(config, data=trained.data)
        model, step = restore_model(trained, folder)
        if trained.workflow == "finetune":
            names = classifiers.names_of(RunFolder(folder))
            classifier = classifiers.of_network(
                model, names, pixel_range=trained.data.pixel_range
            )
        training = _training(trained, RunFolder(folder), step)
    files = write_exports(
        config.export,
        model,
        RunFolder(folder),
        image_size=config.data.image_size,
        step=step,
        classifier=classifier,
    )
    if not files:
        raise ConfigError(
            f"{config.model_dir} holds an encoder and no classifier; train one with "
            f"--mode=finetune --checkpoint={config.model_dir}, or export that of a "
            "protocol with --mode=eval --protocols=logreg --classifier_from=logreg"
        )
    card = model_card.write_card(
        RunFolder(folder),
        model,
        files,
        training,
        image_size=config.data.image_size,
        step=step,
    )
    files.append((card, "what the exported network is and how to load it"))
    for path, text in files:
        print(f"{path}: {text}", flush=True)
    return {"step": step, "files": [str(path) for path, _ in files]}


def _training(trained: Config, folder: RunFolder, step: int) -> model_card.Training:
    """Describe the run, with its results if they are of this step."""
    found = document.read(folder.results)
    results = found.get("results", {}) if found.get("step") == step else {}
    return model_card.training_of(
        trained.data.source,
        config_lib.to_flat(trained),
        run_history.starts(folder),
        results,
    )


def convert(config: Config, source: str, folder: Path) -> tuple[models.SimCLR, int]:
    """Read a checkpoint of the reference code; make ``folder`` for its exports.

    The network comes from the checkpoint alone; of the configuration only
    ``ft_proj_selector`` is read, which shapes do not show.

    Raises:
        ConfigError: ``source`` is something else or damaged, or ``folder`` is a run's
            or cannot be made.
    """
    if RunFolder(folder).config.exists():
        raise ConfigError(
            f"--model_dir={folder} is a run of this program; the exports of "
            "--checkpoint need a folder of their own (or leave --checkpoint out to "
            "export the run)"
        )
    reference = saved_model.read_reference(
        source, ft_proj_selector=config.model.ft_proj_selector
    )
    model = saved_model.build_reference_model(reference)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--model_dir={folder} cannot be made: {error}") from error
    return model, reference.step
