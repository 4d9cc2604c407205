"""classifier.keras: uint8 images of any size -> probabilities of named classes."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from simclr_tf2 import addresses, files
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.keras_archive import save_archive
from simclr_tf2.exports.uint8_encoder import with_preprocessing
from simclr_tf2.run_paths import RunFolder

CLASSES = "classes.json"  # member of the archive that a .keras file is


@dataclass(frozen=True)
class Classifier:
    """A classifier that was read from a file.

    Attributes:
        model: Images ``[n, height, width, c]`` in [0, 1] -> probabilities ``[n, k]``.
        image_size: (height, width) of its images.
        channels: c.
        class_names: k names.
        pixel_range: ``--pixel_range`` of the images that it was trained on.
    """

    model: keras.Model
    image_size: tuple[int, int]
    channels: int
    class_names: tuple[str, ...]
    pixel_range: str = "auto"


def save_classifier(
    classifier: keras.Model,
    path: str | os.PathLike,
    *,
    image_size: int | tuple[int, int],
    class_names: Sequence[str],
    pixel_range: str = "auto",
) -> Path:
    """Write a classifier as one ``.keras`` file of stock layers.

    The file maps uint8 images of any size, one size a batch, to probabilities; crop and
    resize of the evaluation are part of it. It also holds the names of the classes, as
    ``classes.json`` within the archive.

    Args:
        classifier: Images ``[n, s, s, c]`` in [0, 1] -> probabilities ``[n, k]``, named
            "classifier", as ``models.build_classifier`` makes it.
        path: Target file; whole or absent.
        image_size: Side of the views, or (height, width), that it was trained on.
        class_names: k names.
        pixel_range: ``--pixel_range`` of the images that it was trained on.
    """
    path = Path(path)
    outputs = classifier.output_shape[-1]
    assert outputs == len(class_names), (outputs, class_names)
    whole = with_preprocessing(
        classifier, image_size=image_size, channels=classifier.input_shape[-1]
    )
    with files.replacing(path) as temporary:
        save_archive(whole, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            size = image_size if isinstance(image_size, int) else list(image_size)
            about = {
                "classes": list(class_names),
                "image_size": size,
                "pixel_range": pixel_range,
            }
            archive.writestr(CLASSES, json.dumps(about))
    return path


def load_classifier(path: str | os.PathLike) -> Classifier:
    """Read what ``save_classifier`` wrote.

    Args:
        path: The file, or a run folder that holds ``classifier.keras``.

    Raises:
        ConfigError: There is none, or the file is damaged or something else.
    """
    if addresses.is_remote(path) and not addresses.has_copy(os.fspath(path)):
        raise ConfigError(f"{path} is not on this machine; copy the folder here first")
    file = addresses.local(path)
    if file.is_dir():
        file = _of_run(RunFolder(file))
    if not file.is_file():
        expected = "expected a run of --mode=finetune or a classifier.keras"
        raise ConfigError(f"no classifier at {path}: {files.missing(path) or expected}")
    try:
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read(CLASSES))
        whole = keras.models.load_model(file, compile=False)
        core = whole.get_layer("classifier")
        height, width = _height_width(about["image_size"])
        names = tuple(map(str, about["classes"]))
        pixel_range = str(about.get("pixel_range", "auto"))
    except KeyError as error:
        raise ConfigError(
            f"{file} is not a classifier of this program: it names no classes; "
            "--mode=predict takes a run of --mode=finetune or its classifier.keras"
        ) from error
    except Exception as error:  # zip, json, h5: a damaged file fails in many ways
        raise ConfigError(
            f"{file} cannot be loaded as a classifier: {error}"
        ) from error
    channels = whole.input_shape[-1]
    return Classifier(core, (height, width), channels, names, pixel_range)


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _of_run(folder: RunFolder) -> Path:
    """Return the path of a run's classifier, or say how to get one."""
    if folder.classifier.is_file():
        return folder.classifier
    if not folder.config.is_file():
        raise ConfigError(f"no classifier at {folder}: it is not the folder of a run")
    mode = json.loads(folder.config.read_text()).get("mode")
    if mode == "finetune":
        raise ConfigError(
            f"{folder} has no classifier.keras: the run has not ended, or is of an "
            f"earlier version; write it with --mode=export --model_dir={folder} "
            "--export_formats=classifier"
        )
    raise ConfigError(
        f"{folder} holds an encoder and no classifier; train one on labelled images: "
        f"--mode=finetune --checkpoint={folder} --image_dir=LABELLED "
        "--model_dir=runs/classifier"
    )
