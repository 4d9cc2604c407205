"""``--protocols=features``: linear classifiers at the depths of the network."""

from __future__ import annotations

from typing import Any

import keras

from simclr_tf2 import models
from simclr_tf2.evaluation.features import depths
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.protocols.average_pool import average_pool_linear
from simclr_tf2.evaluation.protocols.depths import five_linear
from simclr_tf2.evaluation.subject import Subject

ROW = "SimCLR"
AVERAGE_POOL = "AvgPool"  # the column in the MMSelfSup benchmark
ROWS = tuple(f"{ROW} {name}" for name in (*depths.STAGES, AVERAGE_POOL))


def measure(subject: Subject) -> Measured:
    """Fit linear classifiers on five depths and on h (AvgPool), and score them.

    Returns:
        One record per depth, as ``evaluate_rows`` makes them, and the predictions.
    """
    conditions = subject.conditions
    train, test = _features(subject)
    asked, seed = conditions.evaluation, conditions.seed
    found = five_linear(
        train[:-1],
        test[:-1],
        seed=seed,
        epochs=asked.features_epochs,
        milestones=asked.features_milestones,
    )
    pooled = average_pool_linear(
        train[-1], test[-1], seed=seed, epochs=asked.features_epochs
    )
    shared = {k: v for k, v in found.items() if k != "stages"}
    rows = {name: shared | record for name, record in found["stages"].items()}
    records = {
        f"{ROW} {name}/features": _record(name, record, train[0], test[0])
        for name, record in (rows | {AVERAGE_POOL: pooled}).items()
    }
    return Measured().joined(records, test[0].labels)


def _features(subject: Subject) -> list[list[Features]]:
    """Return the features at each depth and h, of the probe and the test images."""
    conditions = subject.conditions
    fixed = models.build_simclr(
        conditions.model,
        image_size=conditions.data.image_size,
        channels=conditions.data.image_channels,
        export=True,
    )
    models.copy_weights(subject.model.backbone, fixed.backbone)
    stages = depths.stage_model(fixed.backbone)
    h = fixed.backbone.output["final_avg_pool"]
    outputs = [*stages.outputs, keras.ops.cast(h, "float32")]
    joined = keras.Model(
        stages.input, keras.ops.concatenate(outputs, axis=-1), name="stages_and_h"
    )
    dims = [output.shape[-1] for output in outputs]
    features_of = conditions.features_of(subject.keep)
    return [
        depths.split_stages(features_of(joined, split, limit), dims)
        for split, limit in zip(
            conditions.images.labelled, conditions.limits, strict=True
        )
    ]


def _record(
    name: str, found: dict[str, Any], train: Features, test: Features
) -> dict[str, Any]:
    return {
        "value": found["top1"],
        "measure": "top1",
        "row": f"{ROW} {name}",
        "protocol": "features",
        "train_split": train.name,
        "train_examples": len(train),
        "test_split": test.name,
        "test_examples": len(test),
        "num_classes": len(found["classes"]),
        **found,
    }
