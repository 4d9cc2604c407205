"""The splits a run reads, opened and checked before anything is written."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import datasets, opening
from simclr_tf2.evaluation import semi_recipe
from simclr_tf2.workflows.transfer_data import check_names

logger = logging.getLogger(__name__)

# Protocols that take several yes-or-no labels an image.
SEVERAL_LABELS = {"svm", "low_shot", "label_free", "transfer"}
WITHOUT_LABELS = {"label_free", "transfer"}


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
    if "transfer" in config.evaluation.protocols:
        check_names(config.data, config.evaluation.transfer_datasets)
    if _without_labels(config, train):
        return Splits(train, None, None)
    if set(config.evaluation.protocols) <= WITHOUT_LABELS:
        probe = _labelled_or_none(config, train)
        return Splits(train, probe, None)
    name = config.evaluation.probe_split
    probe = open_split(config, name) if name else train
    several = set(config.evaluation.protocols) <= SEVERAL_LABELS
    if probe.label_shape and several:
        return Splits(train, probe, open_split(config, config.evaluation.eval_split))
    if probe.label_shape:
        raise ConfigError(
            f"split {probe.split!r} of {probe.name} has several yes-or-no labels an "
            "image; only --protocols=svm, low_shot, label_free and transfer take those"
        )
    if not probe.has_labels:
        raise ConfigError(
            f"--protocols={','.join(config.evaluation.protocols)} need labels, and "
            f"split {probe.split!r} of {probe.name} has none; name a labelled one with "
            "--probe_split, or pass --protocols= to skip the evaluation"
        )
    evaluation = open_split(config, config.evaluation.eval_split)
    datasets.require_labels(evaluation)
    published = config.data.source == semi_recipe.IMAGENET  # has its own subsets
    if "semi" in config.evaluation.protocols and not published:
        semi_recipe.check(
            label_fraction=config.data.label_fraction,
            labels_per_class=config.data.labels_per_class,
            num_examples=probe.num_examples,
            num_classes=probe.num_classes or 0,
        )
    return Splits(train, probe, evaluation)


def with_own_classifier(config: Config, splits: Splits) -> Splits:
    """The evaluation split too where no protocol reads it: for the run's classifier."""
    if config.evaluation.protocols or splits.probe is None:
        return splits
    split = open_split(config, config.evaluation.eval_split)
    single = split.has_labels and not split.label_shape
    return dataclasses.replace(splits, eval=split) if single else splits


def _without_labels(config: Config, train: datasets.Split) -> bool:
    """Whether these are the user's own images, none with a label: nothing to score."""
    if not config.data.own_images or train.num_classes or config.evaluation.probe_split:
        return False
    if config.evaluation.protocols:
        logger.info(
            "%s has no labels: --protocols=%s are skipped",
            config.data.source,
            ",".join(config.evaluation.protocols),
        )
    return True


def _labelled_or_none(config: Config, train: datasets.Split) -> datasets.Split | None:
    if config.evaluation.probe_split:
        return open_split(config, config.evaluation.probe_split)
    return train if train.has_labels else None


def open_split(config: Config, split: str) -> datasets.Split:
    """Open one split of the images that the config names."""
    return opening.open_split(config.data, split)
