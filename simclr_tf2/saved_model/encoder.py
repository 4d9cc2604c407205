"""encoder.keras: images -> h, stock Keras 3 layers only, no custom objects to load."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from simclr_tf2.config import ConfigError
from simclr_tf2.saved_model import reference_files
from simclr_tf2.saved_model.reference_weights import build_reference_encoder


def save_encoder(encoder: keras.Model, path: str | os.PathLike) -> Path:
    """Write an encoder as one ``.keras`` file.

    Args:
        encoder: Functional model of stock layers: ``[n, s, s, c]`` images in [0, 1] ->
            h ``[n, d]`` float32.
        path: Target file; written beside and renamed, so it is whole or absent.

    Returns:
        The path.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        encoder.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_encoder(path: str | os.PathLike) -> keras.Model:
    """Load an encoder: images ``[n, s, s, c]`` in [0, 1] -> h ``[n, d]``.

    Args:
        path: An ``encoder.keras`` file, a run folder that holds one, or what the
            reference code (google-research/simclr, tf2) leaves: a checkpoint's prefix,
            a SavedModel or its variables folder, or its ``model_dir``. An encoder of
            the reference's values takes images of any size.

    Raises:
        ConfigError: Nothing there, or it cannot be read as a whole.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "encoder.keras"
    if not file.is_file() or reference_files.find_prefix(file):
        return _load_reference(path)
    try:
        return keras.models.load_model(file, compile=False)
    except Exception as error:  # zip, json, h5: a damaged file fails in many ways
        raise ConfigError(
            f"{file} cannot be loaded as a Keras model: {error}"
        ) from error


def _load_reference(path: str | os.PathLike) -> keras.Model:
    if (Path(path) / "config.json").is_file():
        raise ConfigError(
            f"no encoder at {path}: the run has not come to its export; "
            f"--mode=export --model_dir={path} makes one of its newest checkpoint"
        )
    if reference_files.find_prefix(path) is None:
        raise ConfigError(
            f"no encoder at {path}: expected a .keras file, a run folder that holds "
            "encoder.keras, or a checkpoint or SavedModel of the reference code"
        )
    return build_reference_encoder(path)
