"""Online evaluation of the encoder in pretraining, without training a classifier."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.data import pipeline, sampling
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation import valid_loss
from simclr_tf2.evaluation.online import make_monitor
from simclr_tf2.evaluation.subject import Conditions

BATCH = 250  # [ours] bank and queries are whole batches of this size
BANK_BATCHES, QUERY_BATCHES = 8, 2  # [ours] 2,000 and 500 images: seconds on a CPU
VIEWS = 128  # [ours] pairs for alignment


def make_run_monitor(
    conditions: Conditions, model: models.SimCLR, strategy: tf.distribute.Strategy
) -> Callable[[], dict[str, float]]:
    """Build a function that measures ``model``: kNN, spread, alignment, rank.

    If images are held out, it also measures the contrastive loss on them. All replicas
    of this machine run the network.

    Bank and queries are disjoint samples of the labelled probe split. Without labels
    they are samples of the training split, and there is no kNN. They are never from the
    evaluation split, so that nobody chooses on test by the log.

    Args:
        conditions: Images and settings.
        model: The network that is trained.
        strategy: The strategy in whose scope ``model`` was made.
    """
    splits = conditions.images
    if not conditions.training.monitor_epochs:
        return dict
    split = splits.probe or splits.train
    parts = BANK_BATCHES + QUERY_BATCHES
    batch = max(1, min(BATCH, split.num_examples // parts))
    count = min(split.num_examples, batch * parts)
    in_bank = max(1, count * BANK_BATCHES // parts)
    bank, queries = (
        pipeline.make_eval_dataset(
            part, batch_size=batch, image_size=conditions.data.image_size
        )
        for part in sampling.deal(split, in_bank, count - in_bank)
    )
    pairs = pipeline.make_pretrain_dataset(
        splits.train,
        pipeline.plan_batches(splits.train, min(VIEWS, splits.train.num_examples)),
        ViewSpec.for_pairs(conditions.augmentation, conditions.data.image_size),
        seed=conditions.seed + 1,
    )

    def encode(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(image, training=False)
        return outputs["representation"], outputs["projection"]

    monitor = make_monitor(
        encode,
        bank,
        queries,
        views=next(iter(pairs))["views"],
        knn=splits.probe is not None,
        strategy=strategy,
    )
    held_out_loss = valid_loss.make(conditions, model, strategy)
    return lambda: held_out_loss() | monitor()
