"""encoder.keras: images -> h, stock Keras 3 layers only, no custom objects to load."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2 import addresses, files
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.keras_archive import save_archive
from simclr_tf2.reference import files as reference_files
from simclr_tf2.reference.weights import build_reference_encoder
from simclr_tf2.run_paths import RunFolder

logger = logging.getLogger(__name__)

LARGEST = 2.0  # [ours] of an image in [0, 1] that was made a little brighter


def save_encoder(encoder: keras.Model, path: str | os.PathLike) -> Path:
    """Write an encoder as one ``.keras`` file, which earlier Keras 3 loads as well.

    Args:
        encoder: Functional model of stock layers: ``[n, s, s, c]`` images in [0, 1] ->
            h ``[n, d]`` float32.
        path: Target file; written beside and renamed, so it is whole or absent.

    Returns:
        The path.
    """
    path = Path(path)
    with files.replacing(path) as temporary:
        save_archive(encoder, temporary)
    return path


def load_encoder(path: str | os.PathLike) -> keras.Model:
    """Load an encoder: images ``[n, s, s, c]`` in [0, 1] -> h ``[n, d]``.

    It warns when it is called with, or asked to predict, images that are not in [0, 1].

    Args:
        path: An ``encoder.keras`` file, a run folder that holds one, or what the
            reference code (google-research/simclr, tf2) leaves: a checkpoint's prefix,
            a SavedModel or its variables folder, or its ``model_dir``. An encoder of
            the reference's values takes images of any size.

    Raises:
        ConfigError: Nothing there, it cannot be read as a whole, or it takes images of
            another range.
    """
    model = _load(path)
    encoder = _to_h(model, path)
    _warn_of_other_ranges(encoder, path)
    return encoder


def load_outputs(path: str | os.PathLike) -> keras.Model:
    """Load an encoder with all its outputs: h, or the dict of its endpoints.

    Args:
        path: As ``load_encoder`` takes it.

    Raises:
        ConfigError: As ``load_encoder``.
    """
    model = _load(path)
    _warn_of_other_ranges(model, path)
    return model


def _load(path: str | os.PathLike) -> keras.Model:
    """Load a model of images in [0, 1]."""
    if addresses.is_remote(path) and not addresses.has_copy(os.fspath(path)):
        raise ConfigError(f"{path} is not on this machine; copy the folder here first")
    file = addresses.local(path)
    if file.is_dir():
        file = RunFolder(file).encoder
    if not file.is_file() or reference_files.find_prefix(file):
        return _load_reference(path)
    try:
        model = keras.models.load_model(file, compile=False)
    except Exception as error:  # zip, json, h5: a damaged file fails in many ways
        raise ConfigError(
            f"{file} cannot be loaded as a Keras model: {error}"
        ) from error
    _require_unit_range(model, file)
    return model


def _to_h(model: keras.Model, file: str | os.PathLike) -> keras.Model:
    """Return the part of a model that gives h, if it gives several endpoints."""
    # A Sequential model that was loaded has no ``output``, and never several.
    outputs = None if isinstance(model, keras.Sequential) else model.output
    if not isinstance(outputs, dict):
        return model
    for name in ("final_avg_pool", "proj_head_input"):
        if name in outputs:
            return keras.Model(model.input, outputs[name], name=model.name)
    raise ConfigError(
        f"{file} gives {', '.join(outputs)} and no representation; export it again "
        "with final_avg_pool in --export_endpoints, or without that flag"
    )


def _require_unit_range(model: keras.Model, file: Path) -> None:
    """Refuse a model that scales images itself: here they come in [0, 1]."""
    own = [
        layer.name
        for layer in getattr(model, "layers", ())
        if isinstance(layer, keras.layers.Rescaling)
    ]
    if keras.backend.is_int_dtype(model.inputs[0].dtype) or own:
        raise ConfigError(
            f"{file} takes images in [0, 255] and scales them itself; here an encoder "
            "of images in [0, 1] is needed, such as encoder.keras (that file works in "
            "keras.models.load_model)"
        )


def _warn_of_other_ranges(model: keras.Model, file: str | os.PathLike) -> None:
    """Warn once when images are given that are not in [0, 1]."""
    said: list[bool] = []

    def look(images: Any) -> None:
        known = isinstance(images, np.ndarray) or hasattr(images, "numpy")
        if said or not known or not np.size(images):
            return
        high = float(np.max(images))
        if high > LARGEST:
            said.append(True)
            logger.warning(
                "%s takes images in [0, 1] and was given values up to %g: divide them "
                "by 255, or export keras_uint8, which takes them as they are",
                file,
                high,
            )

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(images: Any, *args: Any, **kwargs: Any) -> Any:
            look(images)
            return function(images, *args, **kwargs)

        return call

    model.call = watched(model.call)
    model.predict = watched(model.predict)


def _load_reference(path: str | os.PathLike) -> keras.Model:
    if RunFolder.at(path).config.is_file():
        raise ConfigError(
            f"no encoder at {path}: the run has not ended, or exported none; "
            f"--mode=export --model_dir={path} makes one of its newest checkpoint"
        )
    if reference_files.find_prefix(path) is None:
        expected = (
            "expected a .keras file, a run folder that holds encoder.keras, or a "
            "checkpoint or SavedModel of the reference code"
        )
        raise ConfigError(f"no encoder at {path}: {files.missing(path) or expected}")
    return build_reference_encoder(path)
