"""``--pixel_range=auto``: found from the training images and stored with the run."""

from __future__ import annotations

from simclr_tf2 import addresses
from simclr_tf2.config import Config
from simclr_tf2.data.datasets import Split
from simclr_tf2.runs import folder as run_folder


def recorded(config: Config) -> Config:
    """Return ``config`` with the range of the resumed run, or of ``--checkpoint``.

    Only a ``--checkpoint`` of this program has a range; others do not record it.
    """
    if config.data.pixel_range != "auto":
        return config
    places = [addresses.local(config.model_dir)] if config.model_dir else []
    if config.training.checkpoint:
        checkpoint = addresses.local(config.training.checkpoint)
        places.append(checkpoint if checkpoint.is_dir() else checkpoint.parent)
    for folder in places:
        before = run_folder.earlier_config(folder)
        if before is not None:
            return run_folder.with_pixel_range(config, before.data.pixel_range)
    return config


def resolve(config: Config, train: Split) -> Config:
    """Return ``config`` with the range of the opened training images."""
    return run_folder.with_pixel_range(config, train.pixel_range)
