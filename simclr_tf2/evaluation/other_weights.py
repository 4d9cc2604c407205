"""Encoders that were trained elsewhere, for ``--baseline``."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

import keras

from simclr_tf2 import saved_model
from simclr_tf2.errors import ConfigError
from simclr_tf2.suggestions import nearest

logger = logging.getLogger(__name__)

APPLICATIONS = "keras.applications."


def open_encoder(
    source: str, *, image_size: tuple[int, int], channels: int, download: bool
) -> keras.Model:
    """Open an encoder that was trained elsewhere.

    Args:
        source: ``keras.applications.NAME``, with weights of ImageNet; or what
            ``load_encoder`` takes: a .keras file, a run folder, a checkpoint or
            SavedModel of google-research/simclr.
        image_size: (height, width) of the images that it will be given.
        channels: Their channels.
        download: Whether weights of Keras Applications may be downloaded.

    Returns:
        Images ``[n, height, width, channels]`` in [0, 1] -> features ``[n, d]``. Maps
        are averaged over their places.

    Raises:
        ConfigError: There is no such encoder, its weights are not on this machine, or
            it does not take such images.
    """
    if source.startswith(APPLICATIONS):
        encoder = _application(source, image_size, channels, download=download)
    else:
        encoder = saved_model.load_encoder(source)
        _require_images(encoder, source, image_size, channels)
    return _as_features(encoder, source)


def _application(
    source: str, image_size: tuple[int, int], channels: int, *, download: bool
) -> keras.Model:
    """Build a network of Keras Applications behind its own scaling of pixels."""
    name = source.removeprefix(APPLICATIONS)
    build = getattr(keras.applications, name, None)
    if not name[:1].isupper() or not callable(build):
        known = [n for n in dir(keras.applications) if n[:1].isupper()]
        close = nearest(name, known)
        hint = f"; did you mean {APPLICATIONS}{close}?" if close else ""
        raise ConfigError(f"--baseline={source}: there is no such network{hint}")
    if channels != 3:
        raise ConfigError(
            f"--baseline={source} takes images of 3 channels, these have {channels}"
        )
    if not download and not _has_weights(name):
        raise ConfigError(
            f"--baseline={source}: its weights are not in {_cache()}; add --download "
            "to fetch them"
        )
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            network = build(
                include_top=False, weights="imagenet", input_shape=(*image_size, 3)
            )
    except Exception as error:  # too small an image, no network, a damaged file
        raise ConfigError(
            f"--baseline={source} cannot be built for images of "
            f"{image_size[0]} x {image_size[1]}: {error}"
        ) from error
    for warning in said:
        logger.info("--baseline=%s: %s", source, warning.message)
    images = keras.Input((*image_size, 3), name="images")
    return keras.Model(images, network(_scaling(build)(images * 255.0)))


def _scaling(build: Any) -> Any:
    """Return the function that scales pixels of 0 to 255 for a network."""
    module = build.__module__.rpartition(".")[2]
    return getattr(keras.applications, module).preprocess_input


def _cache() -> Path:
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def _has_weights(name: str) -> bool:
    """Return whether Keras has downloaded the weights of a network before."""
    wanted = re.compile(f"{name.lower()}(?!v\\d)")
    names = (re.sub("[-_]", "", p.name.lower()) for p in _cache().glob("*"))
    return any("notop" in found and wanted.search(found) for found in names)


def _require_images(
    encoder: keras.Model, source: str, image_size: tuple[int, int], channels: int
) -> None:
    """Refuse an encoder of other images."""
    shape = encoder.inputs[0].shape
    if len(shape) != 4:
        raise ConfigError(
            f"--baseline={source} must take images [n, height, width, channels]. "
            f"Received: an input of shape {tuple(shape)}."
        )
    if shape[3] not in (None, channels):
        raise ConfigError(
            f"--baseline={source} takes images of {shape[-1]} channels, these have "
            f"{channels}"
        )
    sizes = zip(shape[1:3], image_size, strict=True)
    if any(theirs not in (None, ours) for theirs, ours in sizes):
        raise ConfigError(
            f"--baseline={source} takes images of {shape[1]} x {shape[2]}, these have "
            f"{image_size[0]} x {image_size[1]}"
        )


def _as_features(encoder: keras.Model, source: str) -> keras.Model:
    """Average maps over their places; refuse other outputs than maps and features."""
    outputs = encoder.outputs
    rank = len(outputs[0].shape)
    if len(outputs) != 1 or rank not in (2, 4):
        raise ConfigError(
            f"--baseline={source} must return one map [n, h, w, d] or features [n, d]. "
            f"Received: {[tuple(x.shape) for x in outputs]}."
        )
    if rank == 2:
        return encoder
    h = keras.layers.GlobalAveragePooling2D(dtype="float32")(outputs[0])
    return keras.Model(encoder.inputs[0], h)
