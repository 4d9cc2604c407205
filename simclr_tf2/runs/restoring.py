"""Rebuild the model of a run from its newest checkpoint."""

from __future__ import annotations

from pathlib import Path

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import checkpoints


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
