"""Linear classifiers trained by SGD in batches, side by side on stored features."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import summarize
from simclr_tf2.optimizers.schedules import total_steps

logger = logging.getLogger(__name__)


SCORE_BYTES = 64 * 2**20  # of features and scores read at once


Batch = tuple[Sequence[np.ndarray], np.ndarray]


def score_linear(
    test: Features,
    weights: np.ndarray,
    bias: np.ndarray,
    known: np.ndarray,
    classes: np.ndarray,
) -> dict[str, Any]:
    """Score a linear classifier, reading the features block by block.

    Args:
        test: Labelled features.
        weights: ``[d, c]``.
        bias: ``[c]``.
        known: Sorted labels ``[c]`` of the columns.
        classes: Sorted labels of train and test together.

    Returns:
        What ``scoring.summarize`` returns, and ``top5`` if there are more than 5
        classes.
    """
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    targets = columns_of(test.labels, known)
    best, hits = np.empty(len(test), np.int64), 0
    rows = max(1, SCORE_BYTES // (4 * (weights.shape[0] + len(known))))
    for start in range(0, len(test), rows):
        part = slice(start, start + rows)
        scores = test.features[part] @ weights + bias
        best[part] = scores.argmax(axis=1)
        hits += int(metrics.top_k_count(scores, targets[part], k=5))
    found = summarize(test.labels, known[best], classes)
    if len(classes) > 5:
        found["top5"] = metrics.accuracy(hits, len(test))
    return found


def columns_of(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return each label's position among the sorted ``known`` ones, -1 for another."""
    column = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[column] == labels, column, -1)


def fit_heads(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    batches: Iterable[Batch],
    *,
    weight_decay: float = 0.0,
) -> float:
    """Train classifiers side by side, each with its own loss.

    No head shares a variable with another, so the gradient of the sum of the losses is
    that of each loss on its own.

    Args:
        model: List of features ``[b, d_i]`` -> list of logits ``[b, c]``.
        optimizer: For all of them.
        batches: Lists of features with targets ``[b]`` in [0, c).
        weight_decay: l2 in the loss, ``weight_decay / 2 |v|^2`` over all trainable
            variables.

    Returns:
        The sum of the losses at the last step, without the decay.

    Raises:
        ConfigError: That loss is not finite.
    """
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(inputs: list[tf.Tensor], targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            heads = tf.nest.flatten(model(inputs, training=True))
            loss = tf.add_n([_cross_entropy(targets, logits) for logits in heads])
            total = loss
            if weight_decay:
                squares = [tf.nn.l2_loss(variable.value) for variable in variables]
                total += weight_decay * tf.add_n(squares)
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    loss = tf.constant(math.nan)
    for inputs, targets in batches:
        loss = step([tf.constant(x) for x in inputs], tf.constant(targets, tf.int32))
    if not math.isfinite(float(loss)):
        raise ConfigError(
            "the linear classifier diverged (its loss is not finite); use a smaller "
            "learning rate, or features of a smaller scale"
        )
    return float(loss)


def _cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return tf.reduce_mean(losses)


def read_batches(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    batch: int,
    *,
    steps: int,
    seed: int,
) -> Iterator[Batch]:
    """Yield full batches of an endless stream of shuffled epochs.

    The rows of a batch are read in ascending order: a memory map reads forward faster,
    and the mean over a batch has no order.

    Args:
        features: Arrays ``[n, d_i]`` that describe the same examples.
        targets: ``[n]``.
        batch: Rows per step, at most n.
        steps: How many batches.
        seed: Of the shuffles, one for each epoch.
    """
    rng = np.random.default_rng(seed)
    left = np.empty(0, np.int64)
    for _ in range(steps):
        if len(left) < batch:
            left = np.concatenate([left, rng.permutation(len(targets))])
        rows, left = np.sort(left[:batch]), left[batch:]
        yield [array[rows] for array in features], targets[rows]


def steps_of(count: int, epochs: float, batch: int) -> int:
    """Return the steps of so many epochs, counted as the reference code does."""
    return total_steps(
        num_examples=count, train_epochs=epochs, train_steps=0, global_batch_size=batch
    )


def clip_batch(global_batch_size: int, count: int) -> int:
    """Limit a batch to the training set; log a warning where that changes it."""
    if global_batch_size > count:
        logger.warning(
            "linear: global_batch_size=%d clipped to the %d training images",
            global_batch_size,
            count,
        )
    return min(global_batch_size, count)


def require_training(
    epochs: float, global_batch_size: int, learning_rate: float, momentum: float
) -> None:
    """Refuse settings that no training can have, in one line."""
    for rule, value, holds in (
        ("epochs must be above 0", epochs, 0 < epochs < math.inf),
        ("the batch size must be 1 or more", global_batch_size, global_batch_size >= 1),
        ("the rate must be above 0", learning_rate, 0 < learning_rate < math.inf),
        ("momentum must be in [0, 1)", momentum, 0 <= momentum < 1),
    ):
        if not holds:
            raise ConfigError(f"linear: {rule}. Received: {value}.")
