"""The images that a classifier is trained on and scored on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2.config import Config, DataConfig
from simclr_tf2.data import datasets, held_out, label_subset, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import pixels
from simclr_tf2.training.splits import labelled_part, open_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Opened splits.

    Attributes:
        train: Images that are trained on: all of ``whole`` or those chosen, without
            ``watched``.
        test: What is scored.
        whole: The training split.
        chosen: Places in it whose labels are used, int64 ``[k]``; None for all.
        watched: Images of the training split that are scored while it trains and never
            trained on; None where nothing is held out.
    """

    train: Split
    test: Split
    whole: Split
    chosen: np.ndarray | None
    watched: Split | None = None


def open_labelled(config: Config) -> Labelled:
    """Open ``train_split`` and ``eval_split``, and choose the labels that may be used.

    Raises:
        ConfigError: No such split, no labels, or too few for the share asked for.
    """
    whole = open_split(config.data, config.evaluation, config.data.train_split)
    config = pixels.resolve(config, whole)
    test = open_split(config.data, config.evaluation, config.evaluation.eval_split)
    whole, test = (labelled_part(config.data, split) for split in (whole, test))
    for split in (whole, test):
        datasets.require_labels(split)
    chosen = _choose(config, whole)
    train, watched = _hold_out(config, _take(whole, chosen))
    return Labelled(train, test, whole, chosen, watched)


def require_classes(config: Config) -> None:
    """Refuse training images that a classifier cannot learn from.

    Raises:
        ConfigError: No such split, no labels, or less than two classes.
    """
    train = labelled_part(
        config.data, open_split(config.data, config.evaluation, config.data.train_split)
    )
    if config.data.own_images and not train.num_classes:
        raise ConfigError(
            f"{config.data.source} has no labels, and fine-tuning needs some: put the "
            "images into one folder for each class (DIR/CLASS/image.jpg), or name them "
            "in a --manifest with the columns path,label"
        )
    datasets.require_labels(train)
    if (train.num_classes or 0) < 2:
        raise ConfigError(
            f"{train.name}:{train.split} has one class only; fine-tuning needs two or "
            "more"
        )


def training_images(config: Config, train: Split) -> Split:
    """Return the images of ``train`` that the run ``config`` trains on.

    These are fewer with a share of labels, or with a part that is held out.
    """
    if "finetune" not in (config.mode, config.train_mode):
        return divided(config.data, train)[0]
    train = labelled_part(config.data, train)
    return _hold_out(config, _take(train, _choose(config, train)))[0]


def _take(whole: Split, chosen: np.ndarray | None) -> Split:
    if chosen is None:
        return whole
    return subset.take(whole, chosen, name=f"{whole.split}, {len(chosen)} labels")


def _hold_out(config: Config, train: Split) -> tuple[Split, Split | None]:
    """Return training images, and those of each class that are only watched.

    Raises:
        ConfigError: No class has an image to spare.
    """
    part = config.training.finetune_validation
    if not part:
        return train, None
    labels = subset.labels_of(train)
    drawn = label_subset.balanced_subset(labels, seed=config.seed, fraction=part)
    spare = np.bincount(labels)[labels[drawn]] > 1  # a class keeps an image to learn
    watched = drawn[spare]
    if not len(watched):
        raise ConfigError(
            f"--finetune_validation={part:g}: no class of {train.name}:{train.split} "
            "has two images; drop the flag or label more images"
        )
    rest = np.setdiff1d(np.arange(len(labels)), watched)
    return (
        subset.take(train, rest, name=f"{train.split}, {len(rest)} images"),
        subset.take(train, watched, name=f"{train.split}, {len(watched)} held out"),
    )


def save_choice(config: Config, folder: RunFolder, labelled: Labelled) -> None:
    """Record which labels are used; a resumed run must use exactly these."""
    if labelled.chosen is None:
        return
    path = folder.labelled_subset
    labels = subset.labels_of(labelled.whole)
    settings = {"seed": config.seed, **_share(config)}
    if path.exists():
        before = label_subset.load_subset(path, labels, **settings)
        assert np.array_equal(before, labelled.chosen), "one seed, one choice"
    else:
        label_subset.save_subset(path, labelled.chosen, labels, **settings)
    logger.info("%d of %d labels are used: %s", len(labelled.chosen), len(labels), path)


def _choose(config: Config, train: Split) -> np.ndarray | None:
    """Choose the images whose labels may be used, None for all (appendix B.5)."""
    data = config.data
    if data.label_fraction == 1 and not data.labels_per_class:
        return None
    return label_subset.balanced_subset(
        subset.labels_of(train),
        seed=config.seed,
        **_share(config),
        num_classes=train.num_classes,
    )


def _share(config: Config) -> dict[str, Any]:
    """Return the number of labels asked for, as arguments of the choice."""
    count = config.data.labels_per_class
    return {"count": count} if count else {"fraction": config.data.label_fraction}


def divided(data: DataConfig, train: Split) -> tuple[Split, Split | None]:
    """Divide ``train`` into images that are trained on and held out (or None)."""
    size = data.valid_size or 0.0
    return held_out.hold_out(train, size, cache=data.cache_mode)
