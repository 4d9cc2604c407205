"""Write the encoder for others: encoder.keras and the TF Hub SavedModel."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from simclr_tf2 import models, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.files import has_pattern
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder

KERAS_TEXT = "keras.models.load_model(path)(images in [0, 1]) -> h"
UINT8_TEXT = "keras.models.load_model(path)(uint8 images of any size) -> h"

logger = logging.getLogger(__name__)


def export(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=export``: export the newest readable checkpoint of a run.

    With ``--checkpoint`` it is one of the reference code, and ``--model_dir`` is where
    the exports go.

    Raises:
        ConfigError: No run there, no readable checkpoint, or nothing to export.
    """
    if not config.model_dir:
        raise ConfigError("--mode=export needs --model_dir: the folder of a run")
    if not config.export.export_formats:
        raise ConfigError("--mode=export with empty --export_formats has nothing to do")
    folder = Path(config.model_dir)
    if config.training.checkpoint:
        model, step = convert(config, config.training.checkpoint, folder)
    else:
        trained = run_folder.read_config(folder)
        config = dataclasses.replace(config, data=trained.data)
        model, step = restore_model(trained, folder)
    files = write_exports(config, model, folder, step=step)
    for path, text in files:
        print(f"{path}: {text}", flush=True)
    return {"step": step, "files": [str(path) for path, _ in files]}


def restore_model(config: Config, folder: Path) -> tuple[models.SimCLR, int]:
    """Rebuild the model of a run in export form, with its newest readable weights."""
    if not checkpoints.list_checkpoints(folder):
        raise ConfigError(f"{folder} holds no checkpoint")
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        num_classes=checkpoints.num_classes(folder),
        export=True,
        any_size=True,
    )
    return model, checkpoints.restore_weights(model, folder)


def convert(config: Config, source: str, folder: Path) -> tuple[models.SimCLR, int]:
    """Read a checkpoint of the reference code; makes ``folder`` for its exports.

    The network comes from the checkpoint alone; of the configuration only
    ``ft_proj_selector`` is read, which shapes do not show.

    Raises:
        ConfigError: ``source`` is something else or damaged, or ``folder`` is a run's
            or cannot be made.
    """
    if (folder / "config.json").exists():
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


def write_exports(
    config: Config, model: models.SimCLR, folder: Path, *, step: int
) -> list[tuple[Path, str]]:
    """Write the formats of ``config.export``; ``model`` is in export form.

    Returns:
        (path, how to load it) of each.
    """
    files = []
    if "saved_model" in config.export.export_formats and has_pattern(folder):
        logger.warning(
            "%s: TensorFlow reads [ ] * ? and \\ in a path as a pattern; copy "
            "saved_model to a path without them before you load it",
            folder,
        )
    if "keras" in config.export.export_formats:
        path = saved_model.save_encoder(
            models.build_encoder(model.backbone), folder / "encoder.keras"
        )
        files.append((path, KERAS_TEXT))
    if "keras_uint8" in config.export.export_formats:
        whole = saved_model.with_preprocessing(
            models.build_encoder(model.backbone),
            image_size=config.data.image_size,
            channels=model.backbone.input_shape[-1],
        )
        path = saved_model.save_encoder(whole, folder / "encoder_uint8.keras")
        files.append((path, UINT8_TEXT))
    if "saved_model" in config.export.export_formats:
        path = saved_model.save_hub_module(
            model,
            folder / "saved_model",
            step=step,
            keep=config.export.keep_hub_module_max,
        )
        files.append((path, "tf.saved_model.load(path)(images) -> dict of endpoints"))
    return files
