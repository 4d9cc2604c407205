"""encoder.keras: images -> h, stock Keras 3 layers only, no custom objects to load."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from simclr_tf2.config import ConfigError


def save_encoder(backbone: keras.Model, path: str | os.PathLike) -> Path:
    """Write the backbone up to h as one ``.keras`` file.

    Args:
        backbone: Functional model of stock layers whose output is a dict of endpoints.
        path: Target file; written beside and renamed, so it is whole or absent.

    Returns:
        The path. The file maps ``[n, s, s, c]`` images in [0, 1] to ``[n, d]`` float32.
    """
    path = Path(path)
    encoder = keras.Model(
        backbone.inputs, backbone.output["final_avg_pool"], name="simclr_encoder"
    )
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
