"""Logistic regression by Adam on standardised h, the other one of the STL-10 tables."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifiable import (
    all_classes,
    require_classifiable,
    standardize,
)
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.penalty_sweep import (
    LAMBDAS,
    VALIDATION_SHARE,
    hold_out,
)
from simclr_tf2.evaluation.solvers.sgd_heads import (
    clip_batch,
    read_batches,
    require_training,
    score_linear,
    steps_of,
)

# A widely used notebook for STL-10: github.com/sthalles/SimCLR,
# feature_eval/mini_batch_logistic_regression_evaluator.ipynb.
EPOCHS = 200
GLOBAL_BATCH_SIZE = 396
LEARNING_RATE = 3e-4
EPSILON = 1e-8
COLUMNS = 2**22  # [ours] numbers in the weights of classifiers trained side by side


def logreg_adam(
    train: Features,
    test: Features,
    *,
    seed: int,
    weight_decays: Sequence[float] = LAMBDAS,
    epochs: float = EPOCHS,
    global_batch_size: int = GLOBAL_BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
) -> dict[str, Any]:
    """Train softmax regression by Adam with a chosen decay; the last epoch is scored.

    The published notebook draws one of the 45 decays blindly and reports the best epoch
    on test. Here a class-balanced fifth of train chooses the decay, training is
    repeated on all of train, and the last epoch counts [ours]. The decay is part of the
    gradient, of weights and biases alike; both start at 0 [ours]. Features that nothing
    has scaled are standardised by the mean and variance of train.

    Args:
        train: Labelled features, at least two classes with two images or more.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Of the images held out and of the order of the examples; 0 or more.
        weight_decays: To choose from, above 0; the largest of equally good ones wins.
        epochs: More than 0.
        global_batch_size: Clipped to the training set (logged, and in the result).
        learning_rate: More than 0.

    Returns:
        What ``scoring.summarize`` returns, ``top5`` with more than 5 classes,
        ``weight_decay``, ``weight_decays`` and their ``validation_scores``,
        ``weight_decay_at_edge``, and the settings.

    Raises:
        ConfigError: Splits that no classifier can be fitted on, no class with two
            images, a setting out of its range, or a training that diverged.
    """
    start = time.perf_counter()
    require_classifiable(train, test)
    require_training(epochs, global_batch_size, learning_rate, 0)
    _require_decays(weight_decays)
    kept, held = hold_out(train.labels, seed=seed)
    train_x, test_x, scaler = standardize(train, test)
    known, targets = np.unique(train.labels, return_inverse=True)
    ordered = sorted(map(float, weight_decays), reverse=True)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "global_batch_size": global_batch_size,
        "learning_rate": learning_rate,
        "classes": len(known),
        "seed": seed,
    }
    found = _fit_all(train_x[kept], targets[kept], ordered, **settings)
    scores = [
        float(((train_x[held] @ w + b).argmax(axis=1) == targets[held]).mean())
        for w, b in found
    ]
    best = int(np.argmax(scores))
    ((weights, bias),) = _fit_all(train_x, targets, [ordered[best]], **settings)
    scaled = Features(test_x, test.labels, test.name)
    batch = clip_batch(global_batch_size, len(train))
    return score_linear(scaled, weights, bias, known, all_classes(train, test)) | {
        "weight_decay": ordered[best],
        "weight_decay_at_edge": len(ordered) > 1 and best in (0, len(ordered) - 1),
        "weight_decays": ordered,
        "validation_scores": scores,
        "validation": f"a class-balanced {VALIDATION_SHARE:.0%} of train",
        "validation_examples": len(held),
        "refit": "all of train",
        "reported": "last epoch",
        "optimizer": "adam, decay in the gradient",
        "epochs": epochs,
        "steps": steps_of(len(train), epochs, batch),
        "global_batch_size": batch,
        "global_batch_size_asked": global_batch_size,
        "learning_rate": learning_rate,
        "scaler": scaler,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _fit_all(
    x: np.ndarray,
    targets: np.ndarray,
    decays: Sequence[float],
    *,
    epochs: float,
    global_batch_size: int,
    learning_rate: float,
    classes: int,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit weights ``[d, c]`` and bias ``[c]`` for each decay, on the same batches."""
    batch = min(global_batch_size, len(x))
    steps = steps_of(len(x), epochs, batch)
    together = max(1, COLUMNS // ((x.shape[1] + 1) * classes))
    found = []
    for first in range(0, len(decays), together):
        part = decays[first : first + together]
        batches = read_batches([x], targets, batch, steps=steps, seed=seed)
        found += _side_by_side(batches, x.shape[1], classes, part, learning_rate)
    return found


def _side_by_side(
    batches: Any, dim: int, classes: int, decays: Sequence[float], rate: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train classifiers that share nothing but their batches.

    Adam takes no norm over them, so one optimizer trains each as if it were alone.
    """
    count = len(decays)
    model = keras.layers.Dense(
        count * classes, kernel_initializer="zeros", dtype="float32"
    )
    model.build((None, dim))
    variables = model.trainable_variables
    optimizer = keras.optimizers.Adam(rate, epsilon=EPSILON)
    optimizer.build(variables)
    decay = tf.repeat(tf.constant(decays, tf.float32), classes)

    @tf.function
    def step(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.reshape(model(inputs), [-1, count, classes])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.repeat(targets[:, None], count, axis=1), logits
            )
            loss = tf.reduce_sum(tf.reduce_mean(losses, axis=0))
        gradients = [
            gradient + decay * variable.value
            for gradient, variable in zip(
                tape.gradient(loss, variables), variables, strict=True
            )
        ]
        optimizer.apply(gradients, variables)
        return loss

    loss = tf.constant(math.nan)
    for (inputs,), targets in batches:
        loss = step(tf.constant(inputs), tf.constant(targets, tf.int32))
    if not math.isfinite(float(loss)):
        raise ConfigError(
            "logistic regression by Adam diverged (its loss is not finite); use a "
            "smaller learning rate, or features of a smaller scale"
        )
    kernel, bias = (variable.numpy() for variable in variables)
    kernels = np.split(kernel, count, axis=1)
    return list(zip(kernels, np.split(bias, count), strict=True))


def _require_decays(decays: Sequence[float]) -> None:
    if not len(decays) or not all(0 < value < math.inf for value in decays):
        raise ConfigError(
            "weight decays must be one or more numbers above 0. "
            f"Received: {list(decays)[:5]}."
        )
