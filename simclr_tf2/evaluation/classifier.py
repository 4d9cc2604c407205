"""Score a network's own classifier on a labelled split."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.evaluation.features.extraction import collect
from simclr_tf2.evaluation.features.extractor import network_runner
from simclr_tf2.evaluation.scoring import classifier_accuracy
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.results.rows import FINETUNED_ROW


def classify(
    conditions: Conditions,
    split: datasets.Split,
    model: models.SimCLR,
    *,
    row: str = FINETUNED_ROW,
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Score top-1 and top-5 of the model's own classifier on a labelled split.

    All replicas of this machine share the images.

    Args:
        conditions: Images, settings and devices.
        split: A labelled split.
        model: A network with a supervised head, in export form.
        row: Name of the row in the table.

    Returns:
        One record, as ``evaluate_rows`` makes them with predictions, and the
        true labels.
    """
    logits = collect(
        network_runner(model, _logits, conditions.strategy),
        pipeline.make_eval_dataset(
            split,
            batch_size=conditions.evaluation.eval_batch_size,
            image_size=conditions.data.image_size,
            limit=conditions.limits[1],
        ),
        limit=None,
        name=split.split,
    )
    found = classifier_accuracy(logits)
    record = {
        "value": found["top1"],
        "measure": "top1",
        "row": row,
        "protocol": "supervised",
        "train_split": conditions.data.train_split,
        "test_split": split.split,
        "test_examples": len(logits),
        "seed": conditions.seed,
        **found,
        "predictions": logits.features.argmax(axis=1),
    }
    return {f"{row}/supervised": record}, np.asarray(logits.labels)


def _logits(model: models.SimCLR, images: tf.Tensor) -> tf.Tensor:
    return model.finetune_logits(images, training=False)
