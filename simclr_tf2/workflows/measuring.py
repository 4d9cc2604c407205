"""What is measured of one encoder: protocols on h, beside a random one and pixels."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2 import distribution, evaluation, models
from simclr_tf2.augmentations import crop, policy
from simclr_tf2.config import Config
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.evaluation import Features, feature_cache
from simclr_tf2.evaluation.semi_table import render_semi
from simclr_tf2.startup import describe_environment
from simclr_tf2.workflows import kept_features, model_protocols, transfer
from simclr_tf2.workflows.splits import Splits

logger = logging.getLogger(__name__)

Rows = tuple[Features, Features]  # of the probe and the evaluation split
ROW = "SimCLR h"
FINETUNED_ROW = "Fine-tuned network"
ONLINE_ROW = "Online linear head"
DEPTHS = "features"  # a protocol with a table of its own
BASELINES = ("Random encoder h", "PCA-256 of pixels")
PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


@dataclass(frozen=True)
class Measured:
    """Results by name, and the features they come from (None when none were made).

    ``predictions`` holds the predicted label of every test image, by the same names,
    and ``labels`` what these images are; ``others`` what is no row of the table, by
    protocol; ``weights`` the digest of the measured network.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    train: Features | None = None
    test: Features | None = None
    others: dict[str, Any] = field(default_factory=dict)
    weights: str = ""

    def joined(
        self, records: dict[str, dict[str, Any]], labels: np.ndarray
    ) -> Measured:
        """With more records, whose predictions are taken out of them."""
        predictions = {
            name: np.asarray(record.pop("predictions"))
            for name, record in records.items()
            if "predictions" in record
        }
        return dataclasses.replace(
            self,
            results=self.results | records,
            predictions=self.predictions | predictions,
            labels=labels if self.labels is None else self.labels,
        )


def measure_model(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    baselines: dict[str, Rows] | None = None,
    *,
    keep: Path | None = None,
) -> Measured:
    """Protocols on ``model`` and, where it has a classifier, its accuracy.

    Args:
        config: Whole config of the run.
        splits: Opened splits.
        model: In export form.
        baselines: What ``baseline_rows`` gave before; None makes them now.
        keep: The folder that keeps the features.
    """
    encoder = models.build_encoder(model.backbone)
    measured = measure(config, splits, encoder, baselines=baselines, keep=keep)
    measured = _measure_network(config, splits, model, measured, keep)
    if model.supervised_head is not None and splits.eval is not None and splits.unseen:
        own = classify(config, splits.eval, model, row=_own_row(config))
        measured = measured.joined(*own)
    digest = feature_cache.digest_of_weights(model)
    for record in [*measured.results.values(), measured.others.get("label_free")]:
        if record is not None and record.get("row") not in BASELINES:
            record.setdefault("weights", digest)
    return dataclasses.replace(measured, weights=digest)


def measure(
    config: Config,
    splits: Splits,
    encoder: keras.Model,
    *,
    baselines: dict[str, Rows] | None = None,
    keep: Path | None = None,
) -> Measured:
    """Run ``config.evaluation.protocols`` on h and, if asked, on the baselines.

    Args:
        config: Whole config of the run.
        splits: Opened splits; ``probe`` and ``eval`` labelled.
        encoder: Images -> h; not moved by this (checked bit for bit).
        baselines: What ``baseline_rows`` gave before; None makes them now.
        keep: The folder that keeps the features of h.
    """
    protocols = on_features(config)
    if not protocols or splits.eval is None:
        return Measured()
    with evaluation.assert_unchanged(encoder):
        rows = {ROW: _features(config, splits, encoder, keep)}
    rows |= baseline_rows(config, splits) if baselines is None else baselines
    results = evaluation.evaluate_rows(
        rows,
        protocols,
        seed=config.seed,
        keep_predictions=True,
        settings=protocol_settings(config),
    )
    digest = feature_cache.digest_of_weights(encoder)
    for record in results.values():
        if record["row"] == ROW:
            record["weights"] = digest
    train, test = rows[ROW]
    empty = Measured(train=train, test=test, weights=digest)
    return empty.joined(results, test.labels)


def predicted(config: Config, splits: Splits) -> list[str]:
    """Names of what ``measure_model`` keeps predictions of; of a classifier, if any."""
    if splits.eval is None:
        return []
    names = [f"{ROW}/{protocol}" for protocol in on_features(config)]
    if DEPTHS in config.evaluation.protocols:
        names += [f"{row}/{DEPTHS}" for row in model_protocols.ROWS]
    online = config.training.lineareval_while_pretraining and splits.train.has_labels
    if splits.unseen and (online or _own_row(config) == FINETUNED_ROW):
        names.append(f"{_own_row(config)}/supervised")
    return names


def _own_row(config: Config) -> str:
    """Of the classifier that a run has trained."""
    finetuned = "finetune" in (config.mode, config.train_mode)
    return FINETUNED_ROW if finetuned else ONLINE_ROW


def protocol_settings(config: Config) -> dict[str, dict[str, Any]]:
    """What the command line says about single protocols."""
    asked = config.evaluation
    knn = {
        "ks": asked.knn_k,
        "temperature": asked.knn_temperature,
        "metric": asked.knn_metric,
        "weighting": asked.knn_weighting,
    }
    return {"weighted_knn": knn}


def on_features(config: Config) -> tuple[str, ...]:
    """Those protocols that read h alone."""
    chosen = config.evaluation.protocols
    return tuple(name for name in chosen if name in evaluation.EVALUATORS)


def _measure_network(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    measured: Measured,
    keep: Path | None,
) -> Measured:
    """With what the protocols find that need more of the network than h."""
    chosen = config.evaluation.protocols
    with evaluation.assert_unchanged(model):
        if "features" in chosen and splits.eval is not None:
            make = kept_features.features_of(config, keep)
            stages, test = model_protocols.measure_stages(
                config, splits, model, make, limits(config)
            )
            measured = measured.joined(stages, test.labels)
        unlabelled = chosen and splits.probe is None  # what can be said of those
        if "label_free" in chosen or unlabelled:
            split = splits.eval or splits.train
            measured.others["label_free"] = model_protocols.measure_without_labels(
                config, split, model
            )
    if "transfer" in chosen:
        encoder = models.build_encoder(model.backbone)
        measured.others.update(
            transfer.measure_transfer(config, encoder, keep_features=keep)
        )
    if "semi" in chosen:
        from simclr_tf2.workflows import semi  # it trains, and training evaluates

        measured.others["semi"] = semi.measure_semi(config, model)
    return measured


def render(measured: Measured) -> str:
    """Everything measured, as tables of plain text."""
    by_depth = {k: r for k, r in measured.results.items() if r["protocol"] == DEPTHS}
    others = {k: r for k, r in measured.results.items() if k not in by_depth}
    parts = [evaluation.render(rows) for rows in (others, by_depth) if rows]
    if "label_free" in measured.others:
        found = measured.others["label_free"]
        parts.append(model_protocols.render_label_free(found))
    parts.append(transfer.render(measured.others))
    if "semi" in measured.others:
        parts.append(render_semi(measured.others["semi"]))
    return "\n\n".join(filter(None, parts))


def baseline_rows(config: Config, splits: Splits) -> dict[str, Rows]:
    """Features that no training made: of a random encoder and of pixels."""
    wanted = config.evaluation.baselines and on_features(config)
    if not (wanted and splits.eval):
        return {}
    rows = {BASELINES[0]: _features(config, splits, random_encoder(config))}
    pixels = _pixel_features(config, splits)
    if pixels is not None:
        rows[BASELINES[1]] = pixels
    return rows


def random_encoder(config: Config) -> keras.Model:
    """The same network with fresh weights: what the architecture alone gives."""
    keras.utils.set_random_seed(config.seed + 1)
    fresh = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        export=True,
    )
    return models.build_encoder(fresh.backbone)


def classify(
    config: Config,
    split: datasets.Split,
    model: models.SimCLR,
    *,
    row: str = FINETUNED_ROW,
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Top-1 and top-5 of the model's own classifier on a labelled split.

    Args:
        config: Whole config.
        split: Where; labelled.
        model: With a supervised head.
        row: Name of the row in the table.

    Returns:
        One record, as ``evaluation.evaluate_rows`` makes them with predictions, and the
        true labels.
    """
    limit = limits(config)[1]
    logits = evaluation.extract(
        lambda images: model.finetune_logits(images, training=False),
        eval_dataset(config, split, limit),
        name=split.split,
    )
    found = evaluation.classifier_accuracy(logits)
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


def results_document(
    config: Config,
    results: dict[str, dict[str, Any]],
    *,
    step: int | None,
    weights: str = "",
) -> dict[str, Any]:
    """What results.json holds: every value with what it rests on.

    Args:
        config: Whole config of the run.
        results: Records of the table.
        step: Of the checkpoint, None for a bare encoder.
        weights: Digest of the measured network.
    """
    return {
        "dataset": config.data.source,
        "step": step,
        "checkpoint": {"step": step, "weights": weights},
        "view": f"eval view, {view_size(config)} px, float32",
        "preprocessing": eval_geometry(config),
        "compute": {
            "dtype": "float32",
            "tensor_float_32": distribution.uses_tensor_float_32(),
            "replicas": kept_features.replica_count(config),
        },
        "seed": config.seed,
        "results": results,
        "environment": describe_environment(),
    }


def eval_geometry(config: Config) -> dict[str, Any]:
    """How an image becomes the view that features are made of."""
    height, width = config.data.height_width
    whole = max(height, width) <= policy.NO_CENTER_CROP_UP_TO
    return {
        "height": height,
        "width": width,
        "channels": config.data.image_channels,
        "window": "centre, of the view's aspect",
        "window_of_the_largest_possible_side": 1.0 if whole else crop.EVAL_PROPORTION,
        "resize": "bicubic",
        "range": [0, 1],
        "flip": False,
    }


def view_size(config: Config) -> str:
    """The size of a view in words: "224", "64x96"."""
    return "x".join(map(str, dict.fromkeys(config.data.height_width)))


def eval_dataset(config: Config, split: datasets.Split, limit: int | None = None):
    """The evaluation view of a split, every example once."""
    return pipeline.make_eval_dataset(
        split,
        batch_size=config.evaluation.eval_batch_size,
        image_size=config.data.image_size,
        limit=limit,
    )


def limits(config: Config) -> tuple[int, int | None]:
    """How many probe and evaluation images are read at most."""
    settings = config.evaluation
    return (
        settings.probe_examples,
        settings.eval_steps * settings.eval_batch_size or None,
    )


def _features(
    config: Config, splits: Splits, encoder: keras.Model, keep: Path | None = None
) -> tuple[Features, Features]:
    make = kept_features.features_of(config, keep)
    assert splits.probe is not None and splits.eval is not None
    probe_limit, eval_limit = limits(config)
    return (
        make(encoder, splits.probe, probe_limit),
        make(encoder, splits.eval, eval_limit),
    )


def _pixel_features(config: Config, splits: Splits) -> tuple[Features, Features] | None:
    assert splits.probe is not None and splits.eval is not None
    counts = [
        min(split.num_examples, limit or split.num_examples)
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    values = config.data.image_channels * math.prod(config.data.height_width)
    size = max(counts) * values * np.dtype(np.float32).itemsize
    if size > PIXELS_GIB * 2**30:
        logger.info("PCA of pixels is left out: it would hold %.1f GiB", size / 2**30)
        return None
    raw = [
        evaluation.raw_pixels(
            eval_dataset(config, split, limit), name=split.split, max_gib=PIXELS_GIB
        )
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    return evaluation.pca256(raw[0], raw[1], seed=config.seed)
