"""What a run predicted for every test image, kept in its folder for comparisons."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder

LABELS, IMAGES = "labels", "images"  # beside the predictions


def save_predictions(
    path: Path,
    predictions: dict[str, np.ndarray],
    labels: np.ndarray,
    images: Mapping[str, Any] | None = None,
) -> None:
    """Write what was predicted for every test image, and what it is.

    Args:
        path: An .npz file, written whole or not at all.
        predictions: "row/protocol" -> int64 labels ``[n]``, or ``[n, draws]``; or
            float64 ``[c]``, a number per class.
        labels: int64 ``[n]`` or ``[n, l]``.
        images: Which images these are, as ``images_of`` says.
    """
    arrays: dict[str, Any] = {LABELS: labels, **predictions}
    if images is not None:
        arrays[IMAGES] = np.array(json.dumps(images))
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of another run.

    Attributes:
        name: Its folder, as given.
        labels: int64 ``[n]`` or ``[n, l]`` of the test images.
        predictions: As ``save_predictions`` takes them.
        images: Which images these are; None where its file does not say.
    """

    name: str
    labels: np.ndarray
    predictions: dict[str, np.ndarray]
    images: dict[str, Any] | None


def load(other: str, *, name: str | None) -> RunPredictions:
    """Read the predictions of another run.

    Args:
        other: Its folder.
        name: ``--eval_name`` of both.

    Raises:
        ConfigError: It has none, or they cannot be read.
    """
    folder = RunFolder.at(other, name)
    path = folder.predictions
    if not folder.path.is_dir():
        raise ConfigError(f"--compare_with={other} is not a folder: name a run folder")
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        images = json.loads(str(arrays.pop(IMAGES))) if IMAGES in arrays else None
        return RunPredictions(other, arrays.pop(LABELS), arrays, images)
    except FileNotFoundError:
        raise ConfigError(
            f"--compare_with={other} keeps no {path.name}; measure it first, with "
            f"--mode=eval --model_dir={other} and the other flags of this command"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
