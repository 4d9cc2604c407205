"""The splits a run reads, opened and checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import datasets


@dataclass(frozen=True)
class Splits:
    """Training split and, where protocols need them, the labelled ones."""

    train: datasets.Split
    probe: datasets.Split | None
    eval: datasets.Split | None


def open_splits(config: Config) -> Splits:
    """Open what the config names.

    Raises:
        ConfigError: Unknown set or split, labels missing where a protocol needs them.
    """
    train = open_split(config, config.data.train_split)
    if not config.evaluation.protocols:
        probe = _labelled_or_none(config, train)
        return Splits(train, probe, None)
    name = config.evaluation.probe_split
    probe = open_split(config, name) if name else train
    if not probe.has_labels:
        raise ConfigError(
            f"--protocols={','.join(config.evaluation.protocols)} need labels, and "
            f"split {probe.split!r} of {probe.name} has none; name a labelled one with "
            "--probe_split, or pass --protocols= to skip the evaluation"
        )
    evaluation = open_split(config, config.evaluation.eval_split)
    datasets.require_labels(evaluation)
    return Splits(train, probe, evaluation)


def _labelled_or_none(config: Config, train: datasets.Split) -> datasets.Split | None:
    if config.evaluation.probe_split:
        return open_split(config, config.evaluation.probe_split)
    return train if train.has_labels else None


def open_split(config: Config, split: str) -> datasets.Split:
    """Open one split of the data set that the config names."""
    data = config.data
    return datasets.open_split(
        data.dataset, split, data_dir=data.data_dir, download=data.download
    )
