"""Write the encoder for others: encoder.keras and the TF Hub SavedModel."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from simclr_tf2 import models, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.training import checkpoints, run_folder

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
        model, step = restore_model(run_folder.read_config(folder), folder)
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
    if "keras" in config.export.export_formats:
        path = saved_model.save_encoder(
            models.build_encoder(model.backbone), folder / "encoder.keras"
        )
        files.append((path, "keras.models.load_model(path)(images) -> h"))
    if "saved_model" in config.export.export_formats:
        path = saved_model.save_hub_module(
            model,
            folder / "saved_model",
            step=step,
            keep=config.export.keep_hub_module_max,
        )
        files.append((path, "tf.saved_model.load(path)(images) -> dict of endpoints"))
    return files
