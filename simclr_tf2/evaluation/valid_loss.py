"""The held-out part of a pretraining run: ``--valid_size`` and ``valid_loss``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import tensorflow as tf

from simclr_tf2 import losses, models
from simclr_tf2.config import DataConfig
from simclr_tf2.data import pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation.held_out_loss import batch_sizes, make_held_out_loss
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.training.labelled import divided

logger = logging.getLogger(__name__)

SEED = 0x5EED  # arbitrary; every run has the same views
VIEWS = 256  # [ours] views that pass through the network at once


def with_held_out(data: DataConfig, splits: Splits) -> Splits:
    """Hold out a part of the training split (``--valid_size``); probes keep all of it.

    Raises:
        ConfigError: The split cannot be divided in this way.
    """
    train, held = divided(data, splits.train)
    return dataclasses.replace(splits, train=train, held=held)


def announce(conditions: Conditions) -> None:
    """Log how many images are held out, and the chance level of their loss."""
    held = conditions.images.held
    if held is not None:
        logger.info(
            "held out: %d images, never trained on; valid_loss has chance level %.3f",
            held.num_examples,
            chance(conditions),
        )


def make(
    conditions: Conditions,
    model: models.SimCLR,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[[], dict[str, float]]:
    """Build a function that measures the contrastive loss on the held-out images.

    Each image has two views, drawn as in training, that are the same at each call.
    Batch norm uses its moving statistics. Without held-out images nothing is measured.
    """
    held = conditions.images.held
    if held is None:
        return dict
    sizes = batch_sizes(held.num_examples, conditions.training.train_batch_size)
    views = pipeline.make_fixed_views_dataset(
        held,
        ViewSpec.for_pairs(conditions.augmentation, conditions.data.image_size),
        batch_size=min(VIEWS, 2 * held.num_examples),
        seed=SEED,
    )
    return make_held_out_loss(
        lambda image: model(image, training=False)["projection"],
        views,
        losses.build_loss(conditions.loss),
        sizes=sizes,
        strategy=strategy,
    )


def chance(conditions: Conditions) -> float:
    """Return the chance level of the held-out loss, whose batches may be smaller."""
    held, loss = conditions.images.held, conditions.loss
    assert held is not None
    sizes = batch_sizes(held.num_examples, conditions.training.train_batch_size)
    levels = [losses.chance_level(loss, global_batch_size=n)[0] for n in sizes]
    return sum(n * x for n, x in zip(sizes, levels, strict=True)) / sum(sizes)
