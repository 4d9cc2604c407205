"""The run folder: checks it at the start of a run, creates it, reads its settings."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2 import files
from simclr_tf2.config import Config
from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.results import document
from simclr_tf2.run_paths import RunFolder, checkpoint_config
from simclr_tf2.runs import checkpoints, flag_file

logger = logging.getLogger(__name__)

# Paths of images; they may change if the images are the same (``runs/history.py``).
PLACES = ("image_dir", "manifest", "tfrecords")
ARRAYS = (".npz", ".npy")  # suffixes of files that --dataset may name
WORKERS = {"cluster", "task_index", "worker_timeout"}  # may change at each start
SHARED = ".shared-"  # a file of several workers that look whether they share a folder
LENGTH = {"train_epochs", "train_steps"}  # may change with --extend


# Values of settings for runs that are older than the setting, if not its default.
BEFORE = {"pixel_range": "full"}
REFERENCE = "reference"  # recipe of runs without one: older ones, or data sets by name


def of(config: Config) -> RunFolder:
    """Return the paths of the run and of its evaluation ``--eval_name``."""
    assert config.model_dir is not None
    return RunFolder.at(config.model_dir, config.evaluation.eval_name)


def config_json(config: Config) -> str:
    """Return the config as JSON, one object per section."""
    flat = config_lib.to_flat(config)
    return json.dumps(flat, indent=2, sort_keys=True) + "\n"


def read_config(folder: str | os.PathLike) -> Config:
    """Read the config of an earlier run.

    Raises:
        ConfigError: There is no config, or it cannot be read.
    """
    run = RunFolder.at(folder)
    path = run.config
    if not path.exists():
        why = files.missing(run) or "it has no config.json"
        raise ConfigError(f"{folder} is not a run folder: {why}")
    return _read(path)


def config_of_checkpoint(prefix: str) -> Config | None:
    """Read the config with which the checkpoint was saved, if the file exists.

    Raises:
        ConfigError: The file cannot be read.
    """
    places = (checkpoint_config(prefix), RunFolder(Path(prefix).parent).config)
    return next((_read(path) for path in places if path.exists()), None)


def earlier_config(folder: str | os.PathLike) -> Config | None:
    """Read the settings of an earlier start; None if nothing was trained yet.

    Raises:
        ConfigError: The settings cannot be read.
    """
    there = RunFolder.at(folder).config.is_file() and has_trained(folder)
    return read_config(folder) if there else None


def _read(path: Path) -> Config:
    try:
        flat = _with_a_name_of_files(json.loads(path.read_text()))
        return config_lib.from_flat({**BEFORE, **flat})
    except (json.JSONDecodeError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _with_a_name_of_files(flat: dict[str, Any]) -> dict[str, Any]:
    """Leave out an ``eval_name`` that is not allowed; runs of 0.1.0 allowed any."""
    if re.fullmatch(config_lib.EVAL_NAME, flat.get("eval_name") or "x"):
        return flat
    return {key: value for key, value in flat.items() if key != "eval_name"}


def with_earlier_choices(config: Config, before: Config) -> Config:
    """Replace auto in ``config`` by what an earlier start of the run chose."""
    if (config.recipe or REFERENCE) == (before.recipe or REFERENCE):
        config = dataclasses.replace(config, recipe=before.recipe)
    if config.data.pixel_range == "auto":
        config = with_pixel_range(config, before.data.pixel_range)
    training = dataclasses.replace(config.training, extend=before.training.extend)
    config = dataclasses.replace(config, training=training)
    if config.training.mixed_precision != "auto":
        return config
    return with_precision(config, before.training.mixed_precision)


def with_precision(config: Config, mixed_precision: str) -> Config:
    """Return ``config`` with another ``--mixed_precision``."""
    training = dataclasses.replace(config.training, mixed_precision=mixed_precision)
    return dataclasses.replace(config, training=training)


def with_pixel_range(config: Config, pixel_range: str) -> Config:
    """Return ``config`` with another ``--pixel_range``."""
    data = dataclasses.replace(config.data, pixel_range=pixel_range)
    return dataclasses.replace(config, data=data)


def check(config: Config) -> None:
    """Check that the run can start or resume in ``model_dir``; writes nothing.

    Raises:
        ConfigError: No folder is given, it is not writable, it belongs to another run,
            or it has files that do not belong to a run.
    """
    if not config.model_dir:
        raise ConfigError("--model_dir is required: the folder this run is kept in")
    folder = of(config)
    _check_writable(folder.path)
    if files.has_pattern(folder) and not files.can_link():
        raise ConfigError(
            f"--model_dir={folder}: TensorFlow reads [ ] * ? and \\ in a path as a "
            "pattern and would not find its checkpoints again; choose a path without "
            "them"
        )
    if not folder.path.exists():
        return
    if folder.config.exists():
        _check_same(config, read_config(folder), folder)
    elif any(
        path != folder.scan and not path.name.startswith(SHARED)
        for path in folder.path.iterdir()
    ):
        raise ConfigError(
            f"{folder} has files but no config.json or usable checkpoint of this "
            "program; choose an empty --model_dir"
        )


def _check_writable(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"--model_dir={folder}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"--model_dir={folder}: no permission to write in {place}")


def _check_same(config: Config, before: Config, folder: RunFolder) -> None:
    extend = config.training.extend
    config = with_earlier_choices(config, before)
    new, old = config_lib.to_flat(config), config_lib.to_flat(before)
    learned = config_lib.learned_settings()
    names = [
        name
        for name in new
        if name in learned
        and new[name] != old[name]
        and not _only_moved(name, old[name], new[name])
        and not (extend and name in LENGTH)
    ]
    changed = [
        f"{name} (there {_shown(old[name])}, now {_shown(new[name])})" for name in names
    ]
    if changed and not has_trained(folder):
        logger.warning(
            "%s was started with other settings and holds no checkpoint yet: it is "
            "started anew with these",
            folder,
        )
        return
    if changed and set(names) <= LENGTH:
        raise ConfigError(
            f"{folder} holds a run of another length: {'; '.join(changed)}. Add "
            "--extend to go on to the new last step in this folder (the learning rate "
            "follows the schedule of that length from there on), or start a new run "
            f"from its weights: --checkpoint={folder} --model_dir=NEW"
        )
    if changed:
        raise ConfigError(
            f"{folder} holds another run; it differs in: {'; '.join(changed)}. Choose "
            "another --model_dir or the same settings"
        )
    if folder.checkpoint_state.exists() and not checkpoints.list_checkpoints(folder):
        raise ConfigError(
            f"{folder} had checkpoints and none is left; restore them, or choose "
            "another --model_dir to start from scratch"
        )


def _shown(value: Any) -> str:
    """Return a setting as it is written on the command line."""
    if value is None or value in ("", ()):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def has_trained(folder: str | os.PathLike) -> bool:
    """Return whether a run folder has files that training wrote.

    If not, nothing is lost when the run starts with other settings.
    """
    run = RunFolder.at(folder)
    made = (run.checkpoint_state, run.results, run.encoder, run.saved_model)
    return any(path.exists() for path in made)


def _only_moved(name: str, old: Any, new: Any) -> bool:
    """Return whether both values are paths of images, so that they may have moved."""
    if name == "dataset":
        return all(str(path).endswith(ARRAYS) for path in (old, new))
    return name in PLACES and bool(old) and bool(new)


def create(config: Config, asked: Config | None = None) -> RunFolder:
    """Make the folder with config.json and flags.txt.

    If a finished run resumes with other settings, its results are marked as not final.

    Args:
        config: The settings of the run, with the chosen values.
        asked: The settings as they were given, for flags.txt; None: ``config``.
    """
    folder, text = of(config), config_json(config)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if _text_of(folder.config) not in ("", text):
            _reopen(folder)
        files.write_text(folder.config, text)
        files.write_text(folder.flags, flag_file.text(asked or config, config))
    except OSError as error:
        raise RunFailed(
            f"could not write in {folder}: {files.reason(error)}"
        ) from error
    return folder


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _reopen(folder: RunFolder) -> None:
    """Remove the mark that the run is finished from its results."""
    path = folder.without_name().results
    found = document.read(path)
    if found.pop("finished", None):
        document.write(path, found)


def completed_results(config: Config) -> dict[str, Any] | None:
    """Return the results of a run that was finished with this config, or None."""
    folder = of(config).without_name()
    found = document.read(folder.results)
    if not found.get("finished"):
        return None
    try:
        before = read_config(folder)
    except ConfigError:
        return None
    now = with_earlier_choices(config, before)
    return found if _of_any_workers(before) == _of_any_workers(now) else None


def _of_any_workers(config: Config) -> dict[str, Any]:
    """Return all settings but those that say which workers take part."""
    flat = config_lib.to_flat(config)
    return {name: value for name, value in flat.items() if name not in WORKERS}
