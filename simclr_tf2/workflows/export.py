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

    Raises:
        ConfigError: No run there, no readable checkpoint, or nothing to export.
    """
    if not config.model_dir:
        raise ConfigError("--mode=export needs --model_dir: the folder of a run")
    if not config.export.export_formats:
        raise ConfigError("--mode=export with empty --export_formats has nothing to do")
    folder = Path(config.model_dir)
    trained = run_folder.read_config(folder)
    model, step = restore_model(trained, folder)
    files = write_exports(config, model, folder, step=step)
    for path, text in files:
        print(f"{path}: {text}", flush=True)
    return {"step": step, "files": [str(path) for path, _ in files]}


def restore_model(config: Config, folder: Path) -> tuple[models.SimCLR, int]:
    """Rebuild the model of a run in export form, with its newest readable weights."""
    newest = checkpoints.list_checkpoints(folder)
    if not newest:
        raise ConfigError(f"{folder} holds no checkpoint to export")
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        num_classes=checkpoints.num_classes(newest[0][1]),
        export=True,
    )
    return model, checkpoints.restore_weights(model, folder)


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
        files.append((path, "hub.load(path)(images) -> dict of endpoints"))
    return files
