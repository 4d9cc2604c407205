"""Train a linear classifier on each of five depths: the features benchmark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifiable import all_classes, require_classifiable
from simclr_tf2.evaluation.features.depths import STAGES
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import summarize
from simclr_tf2.evaluation.solvers.sgd_heads import (
    clip_batch,
    columns_of,
    fit_heads,
    read_batches,
    require_training,
    steps_of,
)

# The benchmark's training on ImageNet.
EPOCHS = 90


MILESTONES = (30, 60)


GLOBAL_BATCH_SIZE = 256


LEARNING_RATE = 0.01


MOMENTUM = 0.9


WEIGHT_DECAY = 1e-4


KERNEL_STDDEV = 0.01


BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}  # those of the benchmark's framework


def five_linear(
    train: Sequence[Features],
    test: Sequence[Features],
    *,
    seed: int,
    epochs: float = EPOCHS,
    milestones: Sequence[float] = MILESTONES,
    global_batch_size: int = GLOBAL_BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = WEIGHT_DECAY,
) -> dict[str, Any]:
    """Train one linear classifier per depth, side by side on stored features.

    Batch norm without scale and offset, then weights from N(0, 0.01), each with its own
    loss; SGD with Nesterov momentum 0.9, the rate divided by 10 at each milestone, l2
    over weights and biases. Features may be memory maps: one batch is in memory. The
    benchmark draws crops anew in each epoch; stored features see one view [ours].

    Args:
        train: One ``Features`` per depth, of the same examples in the same order.
        test: As ``train``.
        seed: Of the weights and the order of the examples; 0 or more.
        epochs: More than 0.
        milestones: Epochs, 30 and 60 of 90; scale them with ``epochs``. None: one rate.
        global_batch_size: Clipped to the training set (logged, and in the result). The
            rate stays: the benchmark does not scale it.
        learning_rate: More than 0.
        weight_decay: 0 or more.

    Returns:
        Ready for JSON but for the predictions: ``stages``: name -> what
        ``scoring.summarize`` returns, ``top5`` with more than 5 classes, and ``dim``;
        and the settings.

    Raises:
        ConfigError: Depths that differ in length or labels, splits that no classifier
            can be fitted on, a setting out of its range, or a training that diverged.
    """
    start = time.perf_counter()
    _require_aligned(train, test)
    require_training(epochs, global_batch_size, learning_rate, MOMENTUM)
    if not 0 <= weight_decay < float("inf"):
        raise ConfigError(f"weight_decay must be 0 or more. Received: {weight_decay}.")
    labels = train[0].labels
    batch, known = clip_batch(global_batch_size, len(labels)), np.unique(labels)
    steps = steps_of(len(labels), epochs, batch)
    schedule = _stepwise(
        learning_rate, [round(epoch * len(labels) / batch) for epoch in milestones]
    )
    model = _heads([split.features.shape[1] for split in train], len(known), seed)
    loss = fit_heads(
        model,
        keras.optimizers.SGD(schedule, momentum=MOMENTUM, nesterov=True),
        read_batches(
            [split.features for split in train],
            np.searchsorted(known, labels),
            batch,
            steps=steps,
            seed=seed,
        ),
        weight_decay=weight_decay,
    )
    return {
        "stages": _judge(model, train, test, known),
        "optimizer": "sgd, nesterov",
        "epochs": epochs,
        "milestones": list(milestones),
        "steps": steps,
        "global_batch_size": batch,
        "global_batch_size_asked": global_batch_size,
        "learning_rate": learning_rate,
        "momentum": MOMENTUM,
        "weight_decay": weight_decay,
        "loss": loss,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _heads(dims: Sequence[int], num_classes: int, seed: int) -> keras.Model:
    """Build the classifiers ``[[b, d_i]] -> [[b, num_classes]]``, one per depth."""
    inputs = [keras.Input((dim,)) for dim in dims]
    outputs = []
    for number, x in enumerate(inputs):
        x = keras.layers.BatchNormalization(
            center=False, scale=False, dtype="float32", **BATCH_NORM
        )(x)
        initializer = keras.initializers.RandomNormal(
            stddev=KERNEL_STDDEV, seed=len(dims) * seed + number
        )
        outputs.append(
            keras.layers.Dense(
                num_classes, kernel_initializer=initializer, dtype="float32"
            )(x)
        )
    return keras.Model(inputs, outputs, name="stage_classifiers")


def _stepwise(learning_rate: float, marks: Sequence[int]) -> Any:
    """Build a schedule: the rate, divided by 10 from each of the steps ``marks`` on."""
    if list(marks) != sorted(marks):
        raise ConfigError(f"milestones must ascend. Received steps: {list(marks)}.")
    if not marks:
        return learning_rate
    # Keras keeps a value up to and including its boundary.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [mark - 1 for mark in marks],
        [learning_rate * 0.1**power for power in range(len(marks) + 1)],
    )


def _judge(
    model: keras.Model,
    train: Sequence[Features],
    test: Sequence[Features],
    known: np.ndarray,
) -> dict[str, Any]:
    labels, classes = test[0].labels, all_classes(train[0], test[0])
    targets = columns_of(labels, known)
    predictions = np.empty((len(test), len(labels)), np.int64)
    hits = np.zeros(len(test), np.int64)
    for start in range(0, len(labels), GLOBAL_BATCH_SIZE):
        part = slice(start, start + GLOBAL_BATCH_SIZE)
        logits = model([split.features[part] for split in test], training=False)
        for number, scores in enumerate(logits):
            best = keras.ops.convert_to_numpy(scores).argmax(axis=1)
            predictions[number, part] = known[best]
            hits[number] += int(metrics.top_k_count(scores, targets[part], k=5))
    found = {}
    for name, split, row, top5 in zip(STAGES, test, predictions, hits, strict=True):
        found[name] = summarize(labels, row, classes) | {"dim": split.features.shape[1]}
        if len(classes) > 5:
            found[name]["top5"] = metrics.accuracy(int(top5), len(labels))
    return found


def _require_aligned(train: Sequence[Features], test: Sequence[Features]) -> None:
    if not len(train) == len(test) == len(STAGES):
        raise ConfigError(
            f"the features protocol reads {len(STAGES)} depths of train and of test. "
            f"Received: {len(train)} and {len(test)}."
        )
    require_classifiable(train[0], test[0])
    for number, name in enumerate(STAGES):
        one, other = train[number], test[number]
        for role, split, first in (("train", one, train[0]), ("test", other, test[0])):
            if not np.array_equal(split.labels, first.labels):
                raise ConfigError(
                    f"{name} of the {role} split has other labels than feature1; "
                    "extract all five from the same images"
                )
        if one.features.shape[1] != other.features.shape[1]:
            raise ConfigError(
                f"{name} of train and test must have one dimension. Received: "
                f"{one.features.shape[1]} and {other.features.shape[1]}."
            )
