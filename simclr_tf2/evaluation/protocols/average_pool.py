"""A linear classifier on h as the features benchmark trains it: its AvgPool column."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from simclr_tf2.evaluation.classifiable import all_classes, require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.sgd_heads import (
    clip_batch,
    fit_heads,
    read_batches,
    require_training,
    score_linear,
    steps_of,
)
from simclr_tf2.optimizers.lars import LARS
from simclr_tf2.optimizers.schedules import WarmupCosine

# The MMSelfSup benchmark's linear evaluation.
EPOCHS = 90
GLOBAL_BATCH_SIZE = 4096
LEARNING_RATE = 1.6
MOMENTUM = 0.9
KERNEL_STDDEV = 0.01


def average_pool_linear(
    train: Features,
    test: Features,
    *,
    seed: int,
    epochs: float = EPOCHS,
    global_batch_size: int = GLOBAL_BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
) -> dict[str, Any]:
    """Train softmax regression on h: LARS, rate 1.6 with a cosine to 0, no decay.

    Weights from N(0, 0.01), biases from 0. Features may be memory maps. The benchmark
    draws crops anew in each epoch; stored features see one view [ours].

    Args:
        train: Labelled features, read as they are.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Of the weights and the order of the examples; 0 or more.
        epochs: More than 0.
        global_batch_size: Clipped to the training set (logged, and in the result). The
            rate stays.
        learning_rate: More than 0.

    Returns:
        What ``scoring.summarize`` returns, ``top5`` with more than 5 classes, ``dim``,
        the settings, and ``loss`` of the last step.

    Raises:
        ConfigError: Splits that no classifier can be fitted on, a setting out of its
            range, or a loss that is no longer finite.
    """
    start = time.perf_counter()
    require_classifiable(train, test)
    require_training(epochs, global_batch_size, learning_rate, MOMENTUM)
    batch = clip_batch(global_batch_size, len(train))
    steps = steps_of(len(train), epochs, batch)
    known, targets = np.unique(train.labels, return_inverse=True)
    model = _classifier(train.features.shape[1], len(known), seed)
    loss = fit_heads(
        model,
        LARS(WarmupCosine(learning_rate, steps), momentum=MOMENTUM),
        read_batches([train.features], targets, batch, steps=steps, seed=seed),
    )
    weights, bias = (variable.numpy() for variable in model.trainable_variables)
    return score_linear(test, weights, bias, known, all_classes(train, test)) | {
        "dim": train.features.shape[1],
        "optimizer": "lars",
        "epochs": epochs,
        "schedule": "cosine",
        "steps": steps,
        "global_batch_size": batch,
        "global_batch_size_asked": global_batch_size,
        "learning_rate": learning_rate,
        "momentum": MOMENTUM,
        "weight_decay": 0.0,
        "loss": loss,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _classifier(dim: int, classes: int, seed: int) -> keras.Model:
    """Build the linear classifier ``[[b, dim]] -> [[b, classes]]``."""
    h = keras.Input((dim,), name="h")
    initializer = keras.initializers.RandomNormal(stddev=KERNEL_STDDEV, seed=seed)
    logits = keras.layers.Dense(
        classes, kernel_initializer=initializer, dtype="float32", name="classifier"
    )(h)
    return keras.Model([h], [logits])
