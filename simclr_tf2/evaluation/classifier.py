"""Score a network's own classifier on a labelled split."""

from __future__ import annotations

from typing import Any

import numpy as np

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.data import datasets
from simclr_tf2.evaluation.features.extraction import extract
from simclr_tf2.evaluation.inputs import eval_dataset, limits
from simclr_tf2.evaluation.scoring import classifier_accuracy
from simclr_tf2.results.rows import FINETUNED_ROW


def classify(
    config: Config,
    split: datasets.Split,
    model: models.SimCLR,
    *,
    row: str = FINETUNED_ROW,
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Score top-1 and top-5 of the model's own classifier on a labelled split.

    Args:
        config: Whole config.
        split: Where; labelled.
        model: With a supervised head.
        row: Name of the row in the table.

    Returns:
        One record, as ``evaluate_rows`` makes them with predictions, and the
        true labels.
    """
    limit = limits(config)[1]
    logits = extract(
        lambda images: model.finetune_logits(images, training=False),
        eval_dataset(config, split, limit),
        name=split.split,
    )
    found = classifier_accuracy(logits)
    record = {
        "value": found["top1"],
        "measure": "top1",
        "row": row,
        "protocol": "supervised",
        "train_split": config.data.train_split,
        "test_split": split.split,
        "test_examples": len(logits),
        "seed": config.seed,
        **found,
        "predictions": logits.features.argmax(axis=1),
    }
    return {f"{row}/supervised": record}, np.asarray(logits.labels)
