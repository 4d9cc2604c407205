"""Checkpoints ``ckpt-N`` with their config; the newest readable one is used."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import addresses, files
from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.run_paths import RunFolder, checkpoint_config

logger = logging.getLogger(__name__)


def list_checkpoints(folder: str | os.PathLike) -> list[tuple[int, str]]:
    """List (step, prefix) of every ``ckpt-N`` with an index file, newest first."""
    found = []
    for path in Path(folder).glob("ckpt-*.index"):
        match = re.fullmatch(r"ckpt-(\d+)\.index", path.name)
        if match:
            found.append((int(match.group(1)), str(path.with_suffix(""))))
    return sorted(found, reverse=True)


def save(
    checkpoint: tf.train.Checkpoint,
    folder: str | os.PathLike,
    *,
    step: int,
    config_json: str,
    keep: int,
) -> str:
    """Write ``ckpt-{step}`` and its config, then delete all but the newest ``keep``.

    Returns:
        The prefix of the checkpoint.

    Raises:
        RunFailed: The disk is full or not writable; older checkpoints are intact.
    """
    prefix = str(RunFolder(Path(folder)).checkpoint(step))
    try:
        checkpoint.write(prefix)
        files.write_text(checkpoint_config(prefix), config_json)
        # For tools that ask tf.train for the latest one.
        tf.compat.v1.train.update_checkpoint_state(
            os.fspath(folder),
            Path(prefix).name,
            all_model_checkpoint_paths=[
                Path(kept).name for _, kept in reversed(list_checkpoints(folder)[:keep])
            ],
        )
    except (tf.errors.OpError, OSError) as error:
        _remove(prefix)
        shutil.rmtree(f"{prefix}_temp", ignore_errors=True)
        older = list_checkpoints(folder)
        raise RunFailed(
            f"could not write checkpoint {prefix}: {files.reason(error)}; make room "
            "for it and start the same command again: it goes on from step "
            f"{older[0][0] if older else 0}"
        ) from error
    for _, old in list_checkpoints(folder)[keep:]:
        _remove(old)
    return prefix


def take_part(checkpoint: tf.train.Checkpoint) -> None:
    """Take part in a checkpoint that worker 0 writes; what is written here is dropped.

    TensorFlow may gather variables from all workers while it saves, so each of them
    saves.

    Raises:
        RunFailed: The folder of temporary files is full or not writable.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="simclr_tf2_") as folder:
            checkpoint.write(os.path.join(folder, "part"))
    except (tf.errors.OpError, OSError) as error:
        raise RunFailed(
            f"could not write in {tempfile.gettempdir()}: {files.reason(error)}; make "
            "room for a checkpoint there, or set TMPDIR to another folder"
        ) from error


def digest(variables: Iterable[keras.Variable]) -> str:
    """Return a short name for the values of variables, in their order."""
    found = hashlib.blake2b(digest_size=8)
    for variable in variables:
        value = keras.ops.convert_to_numpy(variable)
        found.update(f"{variable.path} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def restore_newest(
    checkpoint: tf.train.Checkpoint, folder: str | os.PathLike
) -> int | None:
    """Read the newest readable checkpoint; log its step and the steps that are skipped.

    Returns:
        Its step, or None if the folder has no checkpoint.

    Raises:
        ConfigError: There are checkpoints, but none can be read.
    """
    candidates = list_checkpoints(folder)
    for step, prefix in candidates:
        try:
            with files.plain_prefix(prefix) as plain:
                status = checkpoint.read(plain)
                status.assert_existing_objects_matched().assert_consumed()
        except Exception as error:  # damage shows as IndexError, RuntimeError, ...
            logger.warning(
                "checkpoint %s cannot be used (%s); trying an older one",
                prefix,
                files.reason(error),
            )
            continue
        return step
    if candidates:
        raise ConfigError(
            f"{folder} has checkpoints but none of them can be read; restore a copy "
            "or choose another --model_dir"
        )
    return None


def _remove(prefix: str) -> None:
    folder, name = os.path.split(prefix)
    for path in Path(folder).glob(name + ".*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _reader(prefix: str) -> Iterator[Any]:
    """Open a checkpoint to read values by key; the path may have any characters."""
    with files.plain_prefix(prefix) as plain:
        yield tf.train.load_checkpoint(plain)


def run_checkpoint(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    averages: Mapping[str, keras.Variable] | None = None,
    updates: keras.Variable | None = None,
) -> tf.train.Checkpoint:
    """Build the checkpoint object of a run: every variable under its own path.

    Keys are ``model/PATH`` and ``optimizer/NUMBER|PATH``, with "|" for the "/" of a
    path, and with ``--weights_ema`` also ``averages/PATH`` and ``average_updates``. So
    a checkpoint can be read by name and does not depend on how Keras nests its objects.

    Args:
        model: The network that is trained.
        optimizer: Its optimizer.
        averages: Path -> average of the variable of that path; None: there is none.
        updates: Number of updates of the averages.
    """
    slots = [(f"{i}|{v.path}", v) for i, v in enumerate(optimizer.variables)]
    more: dict[str, Any] = {}
    if averages is not None:
        assert updates is not None
        more["averages"] = _by_name([*averages.items()])
        more["average_updates"] = updates.value
    return tf.train.Checkpoint(
        model=_by_name([(v.path, v) for v in model.variables]),
        optimizer=_by_name(slots),
        **more,
    )


def _by_name(variables: list[tuple[str, keras.Variable]]) -> tf.train.Checkpoint:
    named = {_key(path): variable.value for path, variable in variables}
    assert len(named) == len(variables), "two variables share a path"
    return tf.train.Checkpoint(**named)


def _key(path: str) -> str:
    return path.replace("/", "|")  # TensorFlow would escape both "/" and "."


def restore_weights(
    model: keras.Model, folder: str | os.PathLike, *, step: int | None = None
) -> int:
    """Read only the model's weights from the newest readable checkpoint.

    Args:
        model: A model whose variables the checkpoint contains.
        folder: The run folder.
        step: Step of the checkpoint to read, instead of the newest.

    Returns:
        The step of the checkpoint.

    Raises:
        ConfigError: There is no checkpoint, or none fits the model.
    """
    for found, prefix in list_checkpoints(folder):
        if step not in (None, found):
            continue
        try:
            _assign(model.variables, prefix)
        except Exception as error:  # damage shows as IndexError, RuntimeError, ...
            logger.warning(
                "checkpoint %s cannot be used (%s)", prefix, files.reason(error)
            )
            continue
        return found
    raise ConfigError(f"{folder} holds no checkpoint that fits this model")


def prefix_of(source: str) -> str:
    """Return a checkpoint's prefix: ``source`` itself, or the newest of a run folder.

    Raises:
        ConfigError: There is no checkpoint.
    """
    place = addresses.local(source)
    newest = list_checkpoints(place) if place.is_dir() else []
    prefix = newest[0][1] if newest else str(place)
    if not Path(prefix + ".index").exists():
        raise ConfigError(f"--checkpoint={source}: no checkpoint there{_near(source)}")
    return prefix


def _near(source: str) -> str:
    """Return a hint for a missing checkpoint: other steps, or a missing folder."""
    folder = addresses.local(source).parent
    others = [Path(prefix).name for _, prefix in list_checkpoints(folder)]
    if re.fullmatch(r"ckpt-\d+", Path(source).name) and others:
        return f"; {folder} holds {', '.join(others)}"
    missing = files.missing(addresses.local(source))
    return f"; {missing}" if missing else ""


def initialize_weights(
    model: keras.Model, source: str, *, with_head: bool = True
) -> None:
    """Assign all weights of a checkpoint prefix or a run folder to a model, or none.

    Args:
        model: A ``SimCLR`` model.
        source: A prefix such as ``runs/a/ckpt-100``, or a run folder.
        with_head: Whether to read the supervised head, too.

    Raises:
        ConfigError: There is no checkpoint, or it lacks a weight of the model.
    """
    prefix = prefix_of(source)
    variables = model.variables
    if not with_head and model.supervised_head is not None:
        head = {v.path for v in model.supervised_head.variables}
        variables = [v for v in variables if v.path not in head]
    try:
        _assign(variables, prefix)
    except Exception as error:
        raise ConfigError(
            f"--checkpoint={source} does not fit this model: {files.reason(error)}"
        ) from error


def _assign(variables: list[keras.Variable], prefix: str) -> None:
    """Assign all variables or none; an error lists missing ones and wrong shapes."""
    with _reader(prefix) as reader:
        shapes = reader.get_variable_to_shape_map()
        group = _evaluated(shapes)
        names = [f"{group}{_key(v.path)}/.ATTRIBUTES/VARIABLE_VALUE" for v in variables]
        wrong = [
            f"{v.path} is {shapes.get(name, 'missing')} there, {list(v.shape)} here"
            for name, v in zip(names, variables, strict=True)
            if shapes.get(name) != list(v.shape)
        ]
        if wrong:
            rest = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise ConfigError("; ".join(wrong[:3]) + rest)
        values = [reader.get_tensor(name) for name in names]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def weights(prefix: str) -> dict[str, np.ndarray]:
    """Read every variable of the model by its path; the averages, if there are any."""
    with _reader(prefix) as reader:
        names = reader.get_variable_to_shape_map()
        group = _evaluated(names)
        return {
            name.removeprefix(group).split("/")[0].replace("|", "/"): (
                reader.get_tensor(name)
            )
            for name in names
            if name.startswith(group)
        }


def _evaluated(names: Iterable[str]) -> str:
    """Return the prefix of the weights that are evaluated: averages, if there are any.

    Everything that reads the weights of a checkpoint, and does not continue its
    training, reads these.
    """
    averaged = any(name.startswith("averages/") for name in names)
    return "averages/" if averaged else "model/"


def num_classes(folder: str | os.PathLike) -> int | None:
    """Return the number of classes of the supervised head, None without a head.

    Raises:
        ConfigError: No checkpoint can be read.
    """
    for _, prefix in list_checkpoints(folder):
        try:
            with _reader(prefix) as reader:
                shapes = reader.get_variable_to_shape_map()
        except Exception as error:  # damage shows as IndexError, RuntimeError, ...
            logger.warning(
                "checkpoint %s cannot be used (%s)", prefix, files.reason(error)
            )
            continue
        kernel = shapes.get("model/head_supervised|kernel/.ATTRIBUTES/VARIABLE_VALUE")
        return kernel[1] if kernel else None
    raise ConfigError(f"{folder} holds no checkpoint that can be read")
