"""The network of transfer by fine-tuning, trained again for every trial."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.extraction import (
    Features,
    encoded_batches,
    make_runner,
)
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.evaluation.transfer.grid import Trial
from simclr_tf2.training import precision, repeated

LONGER_FROM_RANDOM = 2  # 40,000 steps in place of 20,000


def steps_of(conditions: Conditions, method: str) -> int:
    """Return the steps of one trial of ``"finetune"`` or ``"random_init"``."""
    longer = LONGER_FROM_RANDOM if method == "random_init" else 1
    return longer * conditions.evaluation.transfer_steps


def batch_norm_momentum(num_examples: int, global_batch_size: int) -> float:
    """Return max(1 - 10 / s, 0.9) for s steps an epoch (SimCLR, appendix B.8.1)."""
    return max(1 - 10 * global_batch_size / num_examples, 0.9)


def shape_of(
    conditions: Conditions, train: Split, replicas: int = 1
) -> tuple[int, float]:
    """Return batch size, whole on each replica, and batch-norm momentum for a split.

    Raises:
        ConfigError: Fewer images than replicas.
    """
    wanted = min(conditions.evaluation.transfer_batch_size, train.num_examples)
    share = wanted // replicas
    if not share:
        raise ConfigError(
            f"{wanted} images a step are fewer than the {replicas} replicas; pass a "
            "larger --transfer_batch_size or --strategy=one_device"
        )
    # Even, as semi_recipe.batch_size says.
    batch = (share - share % 2 if share > 1 else 1) * replicas
    return batch, batch_norm_momentum(train.num_examples, batch)


class TransferNetwork:
    """A network with a classifier that is trained from the same start every time."""

    def __init__(
        self,
        conditions: Conditions,
        encoder: keras.Model,
        train: Split,
        *,
        method: str,
        metric: str,
    ) -> None:
        """Build the network for the classes and the size of ``train``.

        Args:
            conditions: Settings and devices.
            encoder: Whose weights ``finetune`` starts from.
            train: A training split.
            method: ``"finetune"`` or ``"random_init"``.
            metric: Decides on softmax or, for ``map11``, a sigmoid per class.
        """
        self._conditions = conditions
        shared = extractor.replicas(conditions.strategy)
        self._strategy = shared or tf.distribute.get_strategy()
        self.replicas = self._strategy.num_replicas_in_sync
        self.batch, self.batch_norm_momentum = shape_of(
            conditions, train, self.replicas
        )
        keras.utils.set_random_seed(conditions.seed)
        with self._strategy.scope():
            self.model = self._build(train)
            if method == "finetune":
                models.copy_weights(encoder, self.model.backbone)
            self._training = repeated.RepeatedTraining(
                self.model,
                repeated.sigmoid_loss if metric == "map11" else repeated.softmax_loss,
                steps=steps_of(conditions, method),
                jit_compile=conditions.training.jit_compile,
                mixed_precision=conditions.training.mixed_precision,
            )
            self._float32 = models.export_copy(self.model)
        self._logits = make_runner(
            lambda images: self._float32.finetune_logits(images, training=False), shared
        )

    def _build(self, train: Split) -> models.SimCLR:
        return models.build_simclr(
            dataclasses.replace(
                self._conditions.model,
                batch_norm_decay=self.batch_norm_momentum,
                ft_proj_selector=0,
                fine_tune_after_block=-1,
            ),
            image_size=self._conditions.data.image_size,
            channels=self._conditions.data.image_channels,
            num_classes=train.num_classes,
            num_replicas=self.replicas,
            dtype=precision.POLICIES[self._conditions.training.mixed_precision],
        )

    def fits(self, train: Split) -> bool:
        """Return whether it can be trained on another split of the same set too."""
        shape = shape_of(self._conditions, train, self.replicas)
        return (self.batch, self.batch_norm_momentum) == shape

    def train_and_predict(
        self, pair: Trial, train: Split, split: Split
    ) -> Features | None:
        """Train from the start with a pair; return float32 logits of ``split``.

        None if the loss or a logit is not finite.
        """
        dataset = self._strategy.distribute_datasets_from_function(
            lambda context: pipeline.make_supervised_dataset(
                train,
                pipeline.plan_batches(train, self.batch, context),
                image_size=self._conditions.data.image_size,
                seed=self._conditions.seed,
                cache="auto",
                service=None,
            )
        )
        finite = self._training.run(
            dataset, learning_rate=pair.learning_rate, weight_decay=pair.weight_decay
        )
        return self._predict(split) if finite else None

    def _predict(self, split: Split) -> Features | None:
        models.copy_weights(self.model, self._float32)
        settings = self._conditions.evaluation
        dataset = pipeline.make_eval_dataset(
            split,
            batch_size=settings.eval_batch_size,
            image_size=self._conditions.data.image_size,
        )
        batches = list(encoded_batches(self._logits, dataset))
        if not batches:
            raise ConfigError(f"no image to evaluate in {split.split}")
        logits, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
        if not np.isfinite(logits).all():  # the last step was too far
            return None
        return Features(logits, labels, split.split)
