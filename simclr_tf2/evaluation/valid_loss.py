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

SEED = 0x5EED  # any number will do: the same views in every run
VIEWS = 256  # [ours] in the network at once


def with_held_out(data: DataConfig, splits: Splits) -> Splits:
    """Divide the training split as ``--valid_size`` says; probes keep all of it.

    Raises:
        ConfigError: The split cannot be divided so.
    """
    train, held = divided(data, splits.train)
    return dataclasses.replace(splits, train=train, held=held)


def announce(conditions: Conditions) -> None:
    """Say once what is held out, and what its loss would be without learning."""
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

    Views are those of training, drawn once for all (two an image); batch norm uses its
    moving statistics. Without held-out images it measures nothing.
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
    """Return chance level of the held-out loss: batches may differ from training."""
    held, loss = conditions.images.held, conditions.loss
    assert held is not None
    sizes = batch_sizes(held.num_examples, conditions.training.train_batch_size)
    levels = [losses.chance_level(loss, global_batch_size=n)[0] for n in sizes]
    return sum(n * x for n, x in zip(sizes, levels, strict=True)) / sum(sizes)
