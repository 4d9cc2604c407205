"""encoder.keras: images -> h, stock Keras 3 layers only, no custom objects to load."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from simclr_tf2.config import ConfigError


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
        path: An ``encoder.keras`` file, or a run folder that holds one.

    Raises:
        ConfigError: Nothing there, or it cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "encoder.keras"
    if not file.is_file():
        raise ConfigError(
            f"no encoder at {path}: expected a .keras file or a run folder that holds "
            "encoder.keras"
        )
    try:
        return keras.models.load_model(file, compile=False)
    except Exception as error:  # zip, json, h5: a damaged file fails in many ways
        raise ConfigError(
            f"{file} cannot be loaded as a Keras model: {error}"
        ) from error
