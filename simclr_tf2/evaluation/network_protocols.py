"""Protocols that need the network itself, not its representation alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation.features import depths
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.protocols.average_pool import average_pool_linear
from simclr_tf2.evaluation.protocols.depths import five_linear
from simclr_tf2.evaluation.protocols.label_free import label_free

logger = logging.getLogger(__name__)

LABEL_FREE_IMAGES = 2000  # [ours] pairs of views
ROW = "SimCLR"
AVERAGE_POOL = "AvgPool"  # the benchmark's name of the column
ROWS = tuple(f"{ROW} {name}" for name in (*depths.STAGES, AVERAGE_POOL))

# (what encodes, a split, its limit) -> features, kept on disk where the caller does.
FeaturesOf = Callable[[keras.Model, Split, int | None], Features]


def measure_stages(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    features_of: FeaturesOf,
    limits: tuple[int, int | None],
) -> tuple[dict[str, dict[str, Any]], Features]:
    """Measure ``features``: linear classifiers on five depths and on h (AvgPool).

    Returns:
        A record per depth, as ``evaluate_rows`` makes them with the
        predictions, and the test images' features of one depth, for the labels.
    """
    assert splits.probe is not None and splits.eval is not None
    fixed = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        export=True,
    )
    models.copy_weights(model.backbone, fixed.backbone)
    stages = depths.stage_model(fixed.backbone)
    h = fixed.backbone.output["final_avg_pool"]
    outputs = [*stages.outputs, keras.ops.cast(h, "float32")]
    joined = keras.Model(
        stages.input, keras.ops.concatenate(outputs, axis=-1), name="stages_and_h"
    )
    dims = [output.shape[-1] for output in outputs]
    train, test = (
        depths.split_stages(features_of(joined, split, limit), dims)
        for split, limit in zip((splits.probe, splits.eval), limits, strict=True)
    )
    asked = config.evaluation
    found = five_linear(
        train[:-1],
        test[:-1],
        seed=config.seed,
        epochs=asked.features_epochs,
        milestones=asked.features_milestones,
    )
    pooled = average_pool_linear(
        train[-1], test[-1], seed=config.seed, epochs=asked.features_epochs
    )
    shared = {k: v for k, v in found.items() if k != "stages"}
    rows = {name: shared | record for name, record in found["stages"].items()}
    return {
        f"{ROW} {name}/features": _stage_record(name, record, train[0], test[0])
        for name, record in (rows | {AVERAGE_POOL: pooled}).items()
    }, test[0]


def _stage_record(
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


def measure_without_labels(
    config: Config,
    split: Split,
    model: models.SimCLR,
    *,
    random: models.SimCLR | None = None,
) -> dict[str, Any]:
    """Measure spread, rank and alignment of h and z on pairs of views (``label_free``).

    Args:
        config: Whole config; views and seed come from it.
        split: Its first images are measured; they need no labels.
        model: In export form.
        random: The same network with random weights, measured on the same views; None
            leaves it out.

    Returns:
        What ``evaluation.label_free`` returns, with the split, and the same numbers of
        ``random`` under ``random_encoder``.
    """
    count = min(LABEL_FREE_IMAGES, split.num_examples)
    batch = min(config.evaluation.eval_batch_size, count)
    views = pipeline.make_pretrain_dataset(
        split,
        pipeline.plan_batches(split, batch),
        ViewSpec.for_pairs(config.augmentation, config.data.image_size),
        seed=config.seed + 1,
    ).take(count // batch)

    measured = [_encoder_of_both(network) for network in (model, random) if network]
    columns: list[list[list[np.ndarray]]] = [[[], [], [], []] for _ in measured]
    for element in views:
        for encode, parts in zip(measured, columns, strict=True):
            first, second = (encode(view) for view in element["views"])
            for part, values in zip(parts, (*first, *second), strict=True):
                part.append(values.numpy())
    found, *beside = (_label_free(parts, config.seed) for parts in columns)
    if beside:
        numbers = {k: v for k, v in beside[0].items() if k[:2] in ("h_", "z_")}
        found["random_encoder"] = numbers
    return {"split": split.split, "views": "two pretraining views", **found}


def _encoder_of_both(model: models.SimCLR) -> Callable:
    @tf.function
    def encode(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(images, training=False)
        return outputs["representation"], outputs["projection"]

    encoder: Callable = encode
    return encoder


def _label_free(parts: list[list[np.ndarray]], seed: int) -> dict[str, Any]:
    h, z, h_other, z_other = (np.concatenate(part) for part in parts)
    return label_free(h, z, h_other=h_other, z_other=z_other, seed=seed)


# Name in a label_free record -> (words for a person, which direction is better).
LABEL_FREE_ROWS = {
    "std": ("spread", "higher; 0 is collapse"),
    "std_if_even": ("spread, if even", "the best spread"),
    "alignment": ("alignment", "lower, if uniformity does not rise"),
    "uniformity": ("uniformity", "lower"),
    "rankme": ("RankMe", "higher"),
    "rankme_max": ("RankMe, at most", "the best RankMe"),
}


def render_label_free(found: dict[str, Any]) -> str:
    """Format the label-free numbers as a table: h and z, beside a random encoder."""
    random = found.get("random_encoder")
    heads = ["h", "z", *(["random h", "random z"] if random else [])]
    lines = [f"{'without labels':15} {_columns(heads)}  better"]
    for name, (words, better) in LABEL_FREE_ROWS.items():
        records = [found, *([random] if random else [])]
        values = [_number(r.get(f"{part}_{name}")) for r in records for part in "hz"]
        lines.append(f"{words:15} {_columns(values)}  {better}")
    beside = "; random: the same network without training" if random else ""
    return "\n".join([*lines, f"{found['images']} images of {found['split']}{beside}"])


def _columns(texts: list[str]) -> str:
    return " ".join(f"{text:>10}" for text in texts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
