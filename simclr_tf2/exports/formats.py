"""The formats of ``--export_formats``: one record for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

import keras

from simclr_tf2 import models
from simclr_tf2.config import ExportConfig
from simclr_tf2.exports import encoded_images
from simclr_tf2.exports.classifier_file import save_classifier
from simclr_tf2.exports.hub import save_hub_module
from simclr_tf2.exports.keras_file import save_encoder
from simclr_tf2.exports.serving import ServingClassifier, save_serving_classifier
from simclr_tf2.exports.uint8_encoder import with_preprocessing
from simclr_tf2.files import has_pattern
from simclr_tf2.run_paths import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NamedClassifier:
    """A classifier to export.

    Attributes:
        model: Images ``[n, s, s, c]`` in [0, 1] -> probabilities ``[n, k]``.
        class_names: k names.
        pixel_range: ``--pixel_range`` of its images.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    pixel_range: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A network to export.

    Attributes:
        model: The network in export form.
        image_size: Side of the images that it was trained on, or (height, width).
        step: Training step of the weights.
        keep: Number of SavedModels to keep, the newest ones; 0: all.
        endpoints: Outputs of the encoder by name; empty: h alone.
        classifier: The classifier; None: there is none.
    """

    model: models.SimCLR
    image_size: int | tuple[int, int]
    step: int
    keep: int
    classifier: NamedClassifier | None = None
    endpoints: tuple[str, ...] = ()

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
        usage: How to load the path that ``write`` returned; ``{output}`` is what the
            encoder returns.
        listed: How to load from ``place`` if that is another path; "" if it is not.
        of_classifier: It is a format of the classifier, not of the encoder.
        channels: Numbers of image channels that it takes; empty: any.
    """

    place: Callable[[RunFolder], Path]
    write: Callable[[Exported, Path], Path]
    usage: str
    listed: str = ""
    of_classifier: bool = False
    channels: tuple[int, ...] = ()


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
    assert exported.classifier is not None
    return save_classifier(
        exported.classifier.model,
        path,
        image_size=exported.image_size,
        class_names=exported.classifier.class_names,
        pixel_range=exported.classifier.pixel_range,
    )


def _write_classifier_saved_model(exported: Exported, path: Path) -> Path:
    _warn_of_pattern(path)
    assert exported.classifier is not None
    module = ServingClassifier(
        exported.classifier.model,
        image_size=exported.image_size,
        channels=exported.model.backbone.input_shape[-1],
        class_names=exported.classifier.class_names,
    )
    return save_serving_classifier(module, path, step=exported.step, keep=exported.keep)


def _write_saved_model(exported: Exported, path: Path) -> Path:
    _warn_of_pattern(path)
    return save_hub_module(
        exported.model,
        path,
        step=exported.step,
        keep=exported.keep,
        image_size=exported.image_size,
    )


def _warn_of_pattern(path: Path) -> None:
    if has_pattern(path.parent):
        logger.warning(
            "%s: TensorFlow reads [ ] * ? and \\ in a path as a pattern; copy "
            "%s to a path without them before you load it",
            path.parent,
            path.name,
        )


FORMATS = {
    "keras": Format(
        place=lambda folder: folder.encoder,
        write=_write_keras,
        usage="keras.models.load_model(path)(images in [0, 1]) -> {output}",
    ),
    "keras_uint8": Format(
        place=lambda folder: folder.encoder_uint8,
        write=_write_keras_uint8,
        usage="keras.models.load_model(path)(uint8 images of any size) -> {output}",
    ),
    "classifier": Format(
        place=lambda folder: folder.classifier,
        write=_write_classifier,
        usage="keras.models.load_model(path)(uint8 images of any size) -> "
        "probabilities of the classes in its classes.json",
        of_classifier=True,
    ),
    "classifier_saved_model": Format(
        place=lambda folder: folder.classifier_saved_model,
        write=_write_classifier_saved_model,
        usage="tf.saved_model.load(path).serve(JPEG or PNG bytes) -> label, "
        "probabilities",
        listed="tf.saved_model.load(path/STEP).serve(JPEG or PNG bytes) -> label, "
        "probabilities",
        of_classifier=True,
        channels=encoded_images.CHANNELS,
    ),
    "saved_model": Format(
        place=lambda folder: folder.saved_model,
        write=_write_saved_model,
        usage="tf.saved_model.load(path)(images) -> dict of endpoints",
        listed="tf.saved_model.load(path/STEP)(images) -> dict of endpoints",
    ),
}

CLASSIFIER_FORMATS = frozenset(n for n, f in FORMATS.items() if f.of_classifier)


def write_exports(
    asked: ExportConfig,
    model: models.SimCLR,
    folder: RunFolder,
    *,
    image_size: int | tuple[int, int],
    step: int,
    classifier: NamedClassifier | None = None,
) -> list[tuple[Path, str]]:
    """Write the formats of ``--export_formats``.

    Args:
        asked: Names of the formats and endpoints, and the number of SavedModels to
            keep.
        model: The network in export form.
        folder: The run folder.
        image_size: Side of the images that it was trained on, or (height, width).
        step: Training step of the weights.
        classifier: The classifier; without one its formats are left out.

    Returns:
        (path, how to load it) of each format. A format that does not take this number
        of channels is left out, with a warning.
    """
    wanted = set(asked.export_formats)
    if classifier is None:
        if wanted and wanted <= CLASSIFIER_FORMATS:
            logger.warning(
                "--export_formats=%s needs a classifier, from --mode=finetune or "
                "--classifier_from: nothing is exported",
                ",".join(asked.export_formats),
            )
        wanted -= CLASSIFIER_FORMATS
    exported = Exported(
        model=model,
        image_size=image_size,
        step=step,
        keep=asked.keep_hub_module_max,
        classifier=classifier,
        endpoints=asked.export_endpoints,
    )
    return _written(exported, wanted, folder)


def write_classifier(exported: Exported, folder: RunFolder) -> list[tuple[Path, str]]:
    """Write all formats of the classifier, and none of the encoder.

    Args:
        exported: With a classifier.
        folder: The run folder.

    Returns:
        (path, how to load it) of each format.
    """
    return _written(exported, CLASSIFIER_FORMATS, folder)


def _written(
    exported: Exported, wanted: Set[str], folder: RunFolder
) -> list[tuple[Path, str]]:
    written = []
    names = ", ".join(exported.endpoints)
    output = f"dict of {names}" if names else "h"
    channels = exported.model.backbone.input_shape[-1]
    for name, found in FORMATS.items():
        if name not in wanted:
            continue
        if found.channels and channels not in found.channels:
            logger.warning(
                "--export_formats=%s takes images of 1, 3 or 4 channels: it is not "
                "written for images of %d",
                name,
                channels,
            )
            continue
        usage = found.usage.format(output=output)
        written.append((found.write(exported, found.place(folder)), usage))
    return written


def listed_formats(folder: RunFolder) -> dict[Path, str]:
    """Map the path of each format in a run folder to a text on how to load it."""
    output = "h, or a dict of --export_endpoints"
    return {
        f.place(folder): (f.listed or f.usage).format(output=output)
        for f in FORMATS.values()
    }
