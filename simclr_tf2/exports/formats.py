"""Write the formats that ``--export_formats`` names."""

from __future__ import annotations

import logging
from pathlib import Path

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.exports.hub import save_hub_module
from simclr_tf2.exports.keras_file import save_encoder
from simclr_tf2.exports.uint8_encoder import with_preprocessing
from simclr_tf2.files import has_pattern
from simclr_tf2.run_paths import RunFolder

logger = logging.getLogger(__name__)

KERAS_TEXT = "keras.models.load_model(path)(images in [0, 1]) -> h"


UINT8_TEXT = "keras.models.load_model(path)(uint8 images of any size) -> h"


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
        path = save_encoder(
            models.build_encoder(model.backbone), RunFolder(folder).encoder
        )
        files.append((path, KERAS_TEXT))
    if "keras_uint8" in config.export.export_formats:
        whole = with_preprocessing(
            models.build_encoder(model.backbone),
            image_size=config.data.image_size,
            channels=model.backbone.input_shape[-1],
        )
        path = save_encoder(whole, RunFolder(folder).encoder_uint8)
        files.append((path, UINT8_TEXT))
    if "saved_model" in config.export.export_formats:
        path = save_hub_module(
            model,
            RunFolder(folder).saved_model,
            step=step,
            keep=config.export.keep_hub_module_max,
        )
        files.append((path, "tf.saved_model.load(path)(images) -> dict of endpoints"))
    return files
