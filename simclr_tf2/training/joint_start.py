"""The start of a training with several workers: one run, in one folder, for all."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

import simclr_tf2
from simclr_tf2 import addresses
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.config.settings import PLACE
from simclr_tf2.data import identity
from simclr_tf2.data.datasets import Split
from simclr_tf2.distribution import Workers
from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import remote

# Settings that also count by being given: they end the fitted times of log lines,
# checkpoints and online evaluations, at which chunks of steps end.
RHYTHM = {"log_steps", "checkpoint_steps", "checkpoint_epochs", "monitor_epochs"}
SECONDS_TO_APPEAR = 10.0  # [ours] for a file to be seen through a network file system


def agree(
    team: Workers, config: Config, train: Split, *, total_steps: int, **facts: Any
) -> Config:
    """Refuse workers that would train different runs, before anything is written.

    Args:
        team: The workers.
        config: Whole config of this worker. Only worker 0 has replaced
            ``--mixed_precision=auto``, by the times that it measured.
        train: The training images.
        total_steps: Number of steps in all.
        facts: Other values that must be equal, as text or number.

    Returns:
        The config with the precision of worker 0.

    Raises:
        ConfigError: Names what differs, or that the run folder is not shared.
    """
    if team.count == 1:
        return config
    precision = team.of_chief(config.training.mixed_precision)
    config = run_folder.with_precision(config, precision)
    team.require_equal(
        {
            **_settings(config),
            "version of simclr_tf2": simclr_tf2.__version__,
            "version of TensorFlow": tf.__version__,
            "number of training images": train.num_examples,
            "digest of names and sizes of the training images": (
                identity.images_digest(train.source)
            ),
            "digest of their labels": identity.labels_digest(train.source),
            "number of steps": total_steps,
            "flags of the log that are given": ", ".join(
                sorted(config_lib.given_settings(config) & RHYTHM)
            ),
            **team.devices(),
            **facts,
        }
    )
    folder = config.model_dir or ""
    if addresses.is_remote(folder):
        team.require_equal({"--model_dir": folder})
        _share_checkpoints(team, folder)
    else:
        check_shared(team, Path(folder))
    return config


def _share_checkpoints(team: Workers, folder: str) -> None:
    """Upload the newest checkpoint of worker 0, and download it on the others."""
    team.by_chief(lambda: remote.settle(addresses.local(folder)))
    if not team.is_chief:
        remote.refresh(addresses.local(folder))


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that must be equal: all but places on a machine."""
    fields = config_lib.fields()
    return {
        f"--{name}": value
        for name, value in config_lib.to_flat(config).items()
        if name not in run_folder.PLACES
        and (name not in fields or fields[name].metadata["changes"] != PLACE)
    }


def check_shared(team: Workers, folder: Path) -> None:
    """Refuse a run folder that is not the same folder on all workers.

    Worker 0 makes a file in it, or above it where it does not exist yet, for which the
    others look. The file is removed again.

    Raises:
        ConfigError: Names the workers that do not see the file.
    """
    place = _existing(folder)
    name = team.of_chief(run_folder.SHARED + secrets.token_hex(8))
    path = place / name
    try:
        team.by_chief(lambda: _touch(path))
        seen = team.exchange(team.together(lambda: _appears(place, name)))
    finally:
        if team.is_chief:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    blind = [str(index) for index, sees in enumerate(seen) if not sees]
    if blind:
        raise ConfigError(
            f"--model_dir={folder} is not a shared folder: a file that worker 0 wrote "
            f"there is not seen by worker {', '.join(blind)}. Name a folder on a file "
            "system that all workers mount, or a gs:// folder"
        )


def _existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        raise RunFailed(f"could not write {path}: {error.strerror}") from error


def _appears(place: Path, name: str) -> bool:
    """Return whether a file is listed, within some seconds."""
    end = time.monotonic() + SECONDS_TO_APPEAR
    while True:
        if name in os.listdir(place):  # the list of a network folder is never stale
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
