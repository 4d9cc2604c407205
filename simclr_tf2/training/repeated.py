"""Train one classifier repeatedly from the same weights, with different rates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import distribution, optimizers

CHECK_EVERY = 100  # steps between checks of the loss
MOMENTUM = 0.9  # SimCLR, appendix B.8.1

Objective = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class RepeatedTraining:
    """Trains a network from its present weights, any number of times.

    SGD with Nesterov momentum and a cosine from the peak rate to 0. Rate and decay are
    variables, so that all runs share one traced step. It runs on the replicas of the
    strategy that it is made under, each with its part of every batch.
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        *,
        steps: int,
        jit_compile: bool = False,
        mixed_precision: str = "off",
    ) -> None:
        """Record the weights; call it under the strategy's scope.

        Args:
            model: A ``SimCLR`` model with a classifier, made there too.
            objective: (logits ``[n, c]``, labels) -> mean loss.
            steps: Of each run.
            jit_compile: Compile the step of a single device with XLA.
            mixed_precision: Of the model's layers; float16 has its loss scaled.
        """
        self._model, self._objective, self._steps = model, objective, steps
        self._start = [variable.numpy() for variable in model.variables]
        self._peak = tf.Variable(0.0, trainable=False, name="peak")
        self._decay = tf.Variable(0.0, trainable=False, name="decay")
        self._variables = model.finetune_trainable_variables
        roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
        self._decayed = optimizers.decayed_in_loss(
            self._variables, roles, optimizer="momentum"
        )
        sgd = keras.optimizers.SGD(
            optimizers.WarmupCosine(self._peak, steps), momentum=MOMENTUM, nesterov=True
        )
        self._optimizer = optimizers.with_loss_scale(sgd, mixed_precision)
        self._optimizer.build(self._variables)
        self._slots = [slot.numpy() for slot in self._optimizer.variables]
        self._strategy = tf.distribute.get_strategy()
        alone = self._strategy.num_replicas_in_sync == 1
        self._replica_step = tf.function(
            self._one_step, jit_compile=jit_compile and alone
        )
        self._step = tf.function(self._step_of_all)

    def run(
        self,
        dataset: Iterable[dict[str, Any]],
        *,
        learning_rate: float,
        weight_decay: float,
    ) -> bool:
        """Train from the first weights; the model holds the result.

        Args:
            dataset: Endless {"image": ``[n, h, w, c]``, "label"}, of one shape; with
                several replicas distributed by their strategy, n images for each.
            learning_rate: Peak.
            weight_decay: Factor of L2 / 2 of every weight but normalisation's.

        Returns:
            Whether the loss stayed finite; if not, training ended early.
        """
        for variable, value in zip(self._model.variables, self._start, strict=True):
            variable.assign(value)
        for slot, value in zip(self._optimizer.variables, self._slots, strict=True):
            slot.assign(value)
        self._peak.assign(learning_rate)
        self._decay.assign(weight_decay)
        for now, batch in enumerate(itertools.islice(dataset, self._steps), 1):
            loss = self._step({key: batch[key] for key in ("image", "label")})
            looking = now % CHECK_EVERY == 0 or now == self._steps
            if looking and not math.isfinite(float(loss)):
                return False
        return True

    def _step_of_all(self, batch: dict[str, Any]) -> tf.Tensor:
        losses = self._strategy.run(self._replica_step, args=(batch,))
        return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)

    def _one_step(self, batch: dict[str, Any]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self._model.finetune_logits(batch["image"], training=True)
            if logits.dtype != tf.float64:
                logits = tf.cast(logits, tf.float32)
            loss = self._objective(logits, batch["label"])
            penalty = optimizers.l2_loss(self._decayed)
            total = loss + tf.cast(self._decay, penalty.dtype) * penalty
            # Optimizers sum gradients over replicas, hence the mean here.
            scaled = self._optimizer.scale_loss(total / distribution.replica_count())
        gradients = tape.gradient(scaled, self._variables)
        self._optimizer.apply_gradients(
            list(zip(gradients, self._variables, strict=True))
        )
        return total


def softmax_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of ``[n, c]`` logits and ``[n]`` labels."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def sigmoid_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean over images of the sum of their binary cross-entropies.

    Args:
        logits: ``[n, c]``.
        labels: ``[n, c]`` of 1, 0 and -1, which is left out.
    """
    known = tf.cast(labels >= 0, logits.dtype)
    targets = tf.cast(tf.maximum(labels, 0), logits.dtype)
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    return tf.reduce_mean(tf.reduce_sum(known * each, axis=1))
