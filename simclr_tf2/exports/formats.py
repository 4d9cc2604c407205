"""The formats of ``--export_formats``: one record for each."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from simclr_tf2 import models
from simclr_tf2.config import ExportConfig
from simclr_tf2.exports.classifier_file import save_classifier
from simclr_tf2.exports.hub import save_hub_module
from simclr_tf2.exports.keras_file import save_encoder
from simclr_tf2.exports.uint8_encoder import with_preprocessing
from simclr_tf2.files import has_pattern
from simclr_tf2.run_paths import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A network to export.

    Attributes:
        model: The network in export form.
        image_size: Side of the images that it was trained on, or (height, width).
        step: Training step of the weights.
        keep: Number of SavedModels to keep, the newest ones; 0: all.
        endpoints: Outputs of the encoder by name; empty: h alone.
        class_names: Names of the classes; empty without a classifier.
    """

    model: models.SimCLR
    image_size: int | tuple[int, int]
    step: int
    keep: int
    endpoints: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def encoder(self) -> keras.Model:
        """Return the encoder: to h, or to a dict of the named endpoints."""
        if self.endpoints:
            return models.build_endpoints(self.model, self.endpoints)
        return models.build_encoder(self.model.backbone)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format in which other programs load the encoder.

    Attributes:
        place: Function from the run folder to the path that is written.
        write: Function that writes this path, whole or not at all, and returns the
            path to load.
        usage: How to load the path that ``write`` returned.
        listed: How to load from ``place`` if that is another path; "" if it is not.
        of_classifier: Only a fine-tuned network has this format.
    """

    place: Callable[[RunFolder], Path]
    write: Callable[[Exported, Path], Path]
    usage: str
    listed: str = ""
    of_classifier: bool = False


def _write_keras(exported: Exported, path: Path) -> Path:
    return save_encoder(exported.encoder(), path)


def _write_keras_uint8(exported: Exported, path: Path) -> Path:
    backbone = exported.model.backbone
    whole = with_preprocessing(
        exported.encoder(),
        image_size=exported.image_size,
        channels=backbone.input_shape[-1],
    )
    return save_encoder(whole, path)


def _write_classifier(exported: Exported, path: Path) -> Path:
    return save_classifier(
        exported.model,
        path,
        image_size=exported.image_size,
        class_names=exported.class_names,
    )


def _write_saved_model(exported: Exported, path: Path) -> Path:
    if has_pattern(path.parent):
        logger.warning(
            "%s: TensorFlow reads [ ] * ? and \\ in a path as a pattern; copy "
            "saved_model to a path without them before you load it",
            path.parent,
        )
    return save_hub_module(
        exported.model,
        path,
        step=exported.step,
        keep=exported.keep,
        image_size=exported.image_size,
    )


FORMATS = {
    "keras": Format(
        place=lambda folder: folder.encoder,
        write=_write_keras,
        usage="keras.models.load_model(path)(images in [0, 1]) -> h, or the dict of "
        "--export_endpoints",
    ),
    "keras_uint8": Format(
        place=lambda folder: folder.encoder_uint8,
        write=_write_keras_uint8,
        usage="keras.models.load_model(path)(uint8 images of any size) -> h, or the "
        "dict of --export_endpoints",
    ),
    "classifier": Format(
        place=lambda folder: folder.classifier,
        write=_write_classifier,
        usage="keras.models.load_model(path)(uint8 images of any size) -> "
        "probabilities of the classes in classes.json",
        of_classifier=True,
    ),
    "saved_model": Format(
        place=lambda folder: folder.saved_model,
        write=_write_saved_model,
        usage="tf.saved_model.load(path)(images) -> dict of endpoints",
        listed="tf.saved_model.load(path/STEP)(images) -> dict of endpoints",
    ),
}


def write_exports(
    asked: ExportConfig,
    model: models.SimCLR,
    folder: RunFolder,
    *,
    image_size: int | tuple[int, int],
    step: int,
    finetuned: bool = False,
) -> list[tuple[Path, str]]:
    """Write the formats of ``--export_formats``.

    Args:
        asked: Names of the formats and endpoints, and the number of SavedModels to
            keep.
        model: The network in export form.
        folder: The run folder.
        image_size: Side of the images that it was trained on, or (height, width).
        step: Training step of the weights.
        finetuned: The network's classifier was fine-tuned. Other networks have no
            format of a classifier.

    Returns:
        (path, how to load it) of each format.
    """
    exported = Exported(
        model=model,
        image_size=image_size,
        step=step,
        keep=asked.keep_hub_module_max,
        endpoints=asked.export_endpoints,
        class_names=_class_names(model, folder) if finetuned else (),
    )
    return [
        (found.write(exported, found.place(folder)), found.usage)
        for name, found in FORMATS.items()
        if name in asked.export_formats and (finetuned or not found.of_classifier)
    ]


def _class_names(model: models.SimCLR, folder: RunFolder) -> tuple[str, ...]:
    """Return the names in the run folder; numbers where there are none."""
    count = model.supervised_head.output_shape[-1]
    try:
        names = tuple(map(str, json.loads(folder.classes.read_text())))
    except (OSError, ValueError):
        names = ()
    return names if len(names) == count else tuple(map(str, range(count)))


def listed_formats(folder: RunFolder) -> dict[Path, str]:
    """Map the path of each format in a run folder to a text on how to load it."""
    return {f.place(folder): f.listed or f.usage for f in FORMATS.values()}
