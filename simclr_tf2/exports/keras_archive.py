"""Write ``.keras`` files that earlier versions of Keras 3 load as well."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras

CONFIG = "config.json"  # member of the archive that describes the graph

# Arguments that Keras got after 3.4, with the values that mean what Keras did before.
# Keras writes them into every file, and a version without them refuses the file. Found
# by loading files of Keras 3.15.1 in 3.4.1 to 3.14.1.
LATER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "BatchNormalization": {
        "renorm": False,
        "renorm_clipping": None,
        "renorm_momentum": 0.99,
    },
    "Conv2D": {"quantization_config": None},
    "Dense": {"quantization_config": None},
    "InputLayer": {"optional": False},
    "VarianceScaling": {"input_axes": None, "output_axes": None},
}
# Versions of Keras that files of 3.15.1 were loaded in on the JAX backend, with equal
# outputs to 1e-6: 3.4.1, 3.5.0, 3.8.0, 3.10.0, 3.11.3, 3.12.0, 3.13.2 and 3.14.1 for
# graphs of layers alone; 3.3.3 refused them. Graphs that also hold operations, such as
# the split of selective kernels or the resize of uint8 images, were refused up to
# 3.10.0.
OLDEST_FOR_LAYERS = "3.4.1"
OLDEST_FOR_OPERATIONS = "3.11.3"


def save_archive(model: keras.Model, path: str | os.PathLike) -> None:
    """Save a model as a ``.keras`` file without arguments that only newer Keras knows.

    An argument is left out only if it has the value that earlier versions imply.

    Args:
        model: Functional model of stock layers and operations.
        path: Target file, which ends in ``.keras``.
    """
    path = Path(path)
    saved = path.with_name(f"{path.stem}.saved.keras")
    try:
        model.save(saved)
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.infolist():
                if member.filename == CONFIG:
                    config = json.loads(source.read(member))
                    target.writestr(member, json.dumps(_without_later(config)))
                    continue
                with (
                    source.open(member) as old,
                    target.open(member, "w", force_zip64=True) as new,
                ):
                    shutil.copyfileobj(old, new, 1 << 20)
    finally:
        saved.unlink(missing_ok=True)


def oldest_keras(model: keras.Model) -> str:
    """Return the lowest version of Keras in which files of such a graph were loaded."""
    layers_only = all(isinstance(found, keras.Layer) for found in _operations(model))
    return OLDEST_FOR_LAYERS if layers_only else OLDEST_FOR_OPERATIONS


def _operations(model: keras.Model) -> list[Any]:
    """Return all layers and operations of a graph, with those of models within it."""
    found: list[Any] = []
    for operation in model.operations:
        nested = isinstance(operation, keras.Model)
        found += _operations(operation) if nested else [operation]
    return found


def _without_later(value: Any) -> Any:
    """Return a part of a config without the arguments of later versions."""
    if isinstance(value, list):
        return [_without_later(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key: _without_later(part) for key, part in value.items()}
    arguments = made.get("config")
    if isinstance(arguments, dict):
        for name, default in LATER_ARGUMENTS.get(
            str(made.get("class_name")), {}
        ).items():
            if name in arguments and arguments[name] == default:
                del arguments[name]
    return made
