"""The images that a classifier is trained on and scored on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.config import Config
from simclr_tf2.data import datasets, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import semi_supervised
from simclr_tf2.workflows.splits import labelled_part, open_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Opened splits.

    Attributes:
        train: What is trained on: all of ``whole``, or those chosen.
        test: What is scored.
        whole: The training split.
        chosen: Places in it whose labels are used, int64 ``[k]``; None for all.
    """

    train: Split
    test: Split
    whole: Split
    chosen: np.ndarray | None


def open_labelled(config: Config) -> Labelled:
    """Open ``train_split`` and ``eval_split``, and choose the labels that may be used.

    Raises:
        ConfigError: No such split, no labels, or too few for the share asked for.
    """
    names = config.data.train_split, config.evaluation.eval_split
    whole, test = (labelled_part(config, open_split(config, n)) for n in names)
    for split in (whole, test):
        datasets.require_labels(split)
    chosen = _choose(config, whole)
    return Labelled(_take(whole, chosen), test, whole, chosen)


def training_images(config: Config, train: Split) -> Split:
    """What of ``train`` the run ``config`` trains on: fewer with a share of labels."""
    if "finetune" not in (config.mode, config.train_mode):
        return train
    train = labelled_part(config, train)
    return _take(train, _choose(config, train))


def _take(whole: Split, chosen: np.ndarray | None) -> Split:
    if chosen is None:
        return whole
    return subset.take(whole, chosen, name=f"{whole.split}, {len(chosen)} labels")


def save_choice(config: Config, folder: Path, labelled: Labelled) -> None:
    """Keep which labels are used; a run that goes on must use the same."""
    if labelled.chosen is None:
        return
    path = folder / "labelled_subset.json"
    labels = subset.labels_of(labelled.whole)
    settings = {"seed": config.seed, **_share(config)}
    if path.exists():
        before = semi_supervised.load_subset(path, labels, **settings)
        assert np.array_equal(before, labelled.chosen), "one seed, one choice"
    else:
        semi_supervised.save_subset(path, labelled.chosen, labels, **settings)
    logger.info("%d of %d labels are used: %s", len(labelled.chosen), len(labels), path)


def _choose(config: Config, train: Split) -> np.ndarray | None:
    """The images whose labels may be used, None for all (paper, appendix B.5)."""
    data = config.data
    if data.label_fraction == 1 and not data.labels_per_class:
        return None
    return semi_supervised.balanced_subset(
        subset.labels_of(train),
        seed=config.seed,
        **_share(config),
        num_classes=train.num_classes,
    )


def _share(config: Config) -> dict[str, Any]:
    """How many labels are asked for, as the functions of the choice take it."""
    count = config.data.labels_per_class
    return {"count": count} if count else {"fraction": config.data.label_fraction}
