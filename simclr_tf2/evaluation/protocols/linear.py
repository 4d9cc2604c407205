"""Linear classifier on frozen features by SGD: the paper's linear evaluation."""

from __future__ import annotations

import logging
import time
from typing import Any

import keras
import numpy as np

from simclr_tf2.evaluation.classifiable import all_classes, require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.linear_classifier import LinearClassifier
from simclr_tf2.evaluation.solvers.sgd_heads import (
    clip_batch,
    fit_heads,
    read_batches,
    require_training,
    score_linear,
    steps_of,
)
from simclr_tf2.optimizers.schedules import WarmupCosine, scaled_learning_rate

logger = logging.getLogger(__name__)

# SimCLR, appendix B.6.
EPOCHS = 90
GLOBAL_BATCH_SIZE = 4096
BASE_LEARNING_RATE = 0.1
MOMENTUM = 0.9


def linear_sgd(
    train: Features,
    test: Features,
    *,
    seed: int,
    epochs: float = EPOCHS,
    global_batch_size: int = GLOBAL_BATCH_SIZE,
    base_learning_rate: float = BASE_LEARNING_RATE,
    momentum: float = MOMENTUM,
) -> dict[str, Any]:
    """Train softmax regression on h as in SimCLR, appendix B.6, without augmentation.

    SGD with Nesterov momentum, rate ``base * B / 256`` with a cosine to 0, no warm-up,
    no weight decay, weights and biases from 0. Every batch is full: the order of one
    epoch follows that of the epoch before, as in the reference code. Only one batch of
    the features is in memory, so they may be a memory map.

    Args:
        train: Labelled features, read as they are.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Of the order of the examples, the only thing drawn; 0 or more.
        epochs: Passes over ``train``, more than 0.
        global_batch_size: B; clipped to the training set, which is logged and kept in
            the result.
        base_learning_rate: For 256 examples, more than 0.
        momentum: In [0, 1).

    Returns:
        What ``scoring.summarize`` returns, ``top5`` with more than 5 classes, the
        settings, the ``global_batch_size`` used, ``loss`` of the last step, and
        ``classifier``, a ``LinearClassifier``.

    Raises:
        ConfigError: Splits that no classifier can be fitted on, a setting out of its
            range, or a loss that is no longer finite.
    """
    start = time.perf_counter()
    require_classifiable(train, test)
    require_training(epochs, global_batch_size, base_learning_rate, momentum)
    batch = clip_batch(global_batch_size, len(train))
    steps = steps_of(len(train), epochs, batch)
    rate = scaled_learning_rate(
        base_learning_rate, scaling="linear", global_batch_size=batch
    )
    known, targets = np.unique(train.labels, return_inverse=True)
    model = _zero_classifier(train.features.shape[1], len(known))
    optimizer = keras.optimizers.SGD(
        WarmupCosine(rate, steps), momentum=momentum, nesterov=True
    )
    batches = read_batches([train.features], targets, batch, steps=steps, seed=seed)
    loss = fit_heads(model, optimizer, batches)
    weights, bias = (variable.numpy() for variable in model.trainable_variables)
    return score_linear(test, weights, bias, known, all_classes(train, test)) | {
        "optimizer": "sgd, nesterov",
        "epochs": epochs,
        "steps": steps,
        "global_batch_size": batch,
        "global_batch_size_asked": global_batch_size,
        "base_learning_rate": base_learning_rate,
        "learning_rate": rate,
        "momentum": momentum,
        "weight_decay": 0.0,
        "loss": loss,
        "classifier": LinearClassifier(weights, bias, known),
        "scaler": train.scaler,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _zero_classifier(dim: int, classes: int) -> keras.Model:
    """Build the linear classifier ``[[b, dim]] -> [[b, classes]]``, all logits 0."""
    h = keras.Input((dim,), name="h")
    logits = keras.layers.Dense(
        classes, kernel_initializer="zeros", dtype="float32", name="classifier"
    )(h)
    return keras.Model([h], [logits])
