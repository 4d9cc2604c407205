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
from simclr_tf2.config import Config
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.evaluation import Features, feature_cache
from simclr_tf2.evaluation.neighbour_overlap import nearest_others
from simclr_tf2.evaluation.semi_table import render_semi
from simclr_tf2.startup import describe_environment
from simclr_tf2.workflows import (
    kept_features,
    model_protocols,
    representations,
    transfer,
)
from simclr_tf2.workflows.representations import Representation, eval_geometry
from simclr_tf2.workflows.splits import Splits, capped_probes

logger = logging.getLogger(__name__)

Rows = tuple[Features, Features]  # of the probe and the evaluation split
Baselines = dict[str, dict[str, Rows]]  # name of a representation -> row -> features
FINETUNED_ROW = "Fine-tuned network"
ONLINE_ROW = "Online linear head"
DEPTHS = "features"  # a protocol with a table of its own
COMPARED_IMAGES = 2000  # [ours] of which neighbours are kept
PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


@dataclass(frozen=True)
class Measured:
    """Results by name, and the features they come from (None when none were made).

    ``predictions`` holds the predicted label of every test image, by the same names,
    and ``labels`` what these images are; ``others`` what is no row of the table, by
    protocol; ``weights`` the digest of the measured network; ``neighbours`` are those
    of the images that ``label_free`` was measured on.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    train: Features | None = None
    test: Features | None = None
    others: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    neighbours: np.ndarray | None = None  # int32 [n, k]: nearest other images by h

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
    baselines: Baselines | None = None,
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
        if record is None or record.get("row") in representations.BASELINE_ROWS:
            continue
        record.setdefault("weights", digest)
    _mark_capped(config, splits, measured.results)
    return dataclasses.replace(measured, weights=digest)


def measure(
    config: Config,
    splits: Splits,
    encoder: keras.Model,
    *,
    baselines: Baselines | None = None,
    keep: Path | None = None,
) -> Measured:
    """Run the protocols on frozen features and, if asked, on those of the baselines.

    Args:
        config: Whole config of the run.
        splits: Opened splits; ``probe`` and ``eval`` labelled.
        encoder: Images -> h; not moved by this (checked bit for bit).
        baselines: What ``baseline_rows`` gave before; None makes them now.
        keep: The folder that keeps the features of ``encoder``.
    """
    chosen = representations.chosen(config)
    if not chosen or splits.eval is None:
        return Measured()
    digest = feature_cache.digest_of_weights(encoder)
    if baselines is None:
        baselines = baseline_rows(config, splits)
    results: dict[str, dict[str, Any]] = {}
    measured = Measured(weights=digest)
    for part in chosen:
        with evaluation.assert_unchanged(encoder):
            train, test = _features(config, splits, part, encoder, keep)
        found = evaluation.evaluate_rows(
            {part.row: (train, test), **baselines.get(part.name, {})},
            part.protocols,
            seed=config.seed,
            keep_predictions=True,
            settings=protocol_settings(config),
        )
        for record in found.values():
            record |= part.facts
            if record["row"] == part.row:
                record["weights"] = digest
        results |= found
        if part.name == "h":  # the features that the report shows
            measured = dataclasses.replace(measured, train=train, test=test)
    _mark_capped(config, splits, results)
    return measured.joined(_in_order(results, chosen), test.labels)


def _in_order(
    results: dict[str, dict[str, Any]], chosen: list[Representation]
) -> dict[str, dict[str, Any]]:
    """Rows of the network first, then of the random one, then of pixels."""
    rows = [p.row for p in chosen] + [p.random_row for p in chosen]
    rows.append(representations.PIXELS_ROW)
    keys = sorted(results, key=lambda key: rows.index(results[key]["row"]))
    return {key: results[key] for key in keys}


def _mark_capped(
    config: Config, splits: Splits, results: dict[str, dict[str, Any]]
) -> None:
    """Say in the records that --probe_examples left training images out."""
    for protocol in capped_probes(config, splits.probe):
        assert splits.probe is not None
        for record in results.values():
            if record["protocol"] == protocol:
                record["train_examples_available"] = splits.probe.num_examples
                record["capped_by"] = (
                    f"--probe_examples={config.evaluation.probe_examples}"
                )


def predicted(config: Config, splits: Splits) -> list[str]:
    """Names of what ``measure_model`` keeps predictions of; of a classifier, if any."""
    if splits.eval is None:
        return []
    names = [
        f"{part.row}/{protocol}"
        for part in representations.chosen(config)
        for protocol in part.protocols
    ]
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
    """Those protocols that read frozen features: h, or feature5 (--svm_features)."""
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
        if measures_without_labels(config, splits):
            split = unlabelled_split(splits)
            measured.others["label_free"] = model_protocols.measure_without_labels(
                config,
                split,
                model,
                random=random_network(config) if config.evaluation.baselines else None,
            )
            make = kept_features.features_of(config, keep)
            h = make(models.build_encoder(model.backbone), split, COMPARED_IMAGES)
            measured = dataclasses.replace(
                measured, neighbours=nearest_others(h.features)
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


def measures_without_labels(config: Config, splits: Splits) -> bool:
    """Whether ``measure_model`` measures ``label_free``: asked for, or all there is."""
    chosen = config.evaluation.protocols
    return "label_free" in chosen or bool(chosen and splits.probe is None)


def unlabelled_split(splits: Splits) -> datasets.Split:
    """Return the split that ``label_free`` measures."""
    return splits.eval or splits.train


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


def baseline_rows(config: Config, splits: Splits) -> Baselines:
    """Features that no training made, of a random encoder and of pixels.

    Returns:
        For each representation that a protocol reads, rows of the same view.
    """
    chosen = representations.chosen(config)
    if not (config.evaluation.baselines and chosen and splits.eval):
        return {}
    encoder = random_encoder(config)
    found: Baselines = {}
    for part in chosen:
        rows = {part.random_row: _features(config, splits, part, encoder)}
        pixels = _pixel_features(config, splits, part)
        if pixels is not None:
            rows[representations.PIXELS_ROW] = pixels
        found[part.name] = rows
    return found


def random_encoder(config: Config) -> keras.Model:
    """Build the encoder of ``random_network``: what the architecture alone gives."""
    return models.build_encoder(random_network(config).backbone)


def random_network(config: Config) -> models.SimCLR:
    """Build the network of the run with fresh weights and its projection head.

    The last gamma of each residual block is 1. Training starts from 0, where a network
    passes almost nothing of its 3x3 convolutions to h.
    """
    keras.utils.set_random_seed(config.seed + 1)
    fresh = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        export=True,
    )
    models.open_residual_branches(fresh.backbone)
    return fresh


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


def view_size(config: Config) -> str:
    """The size of a view in words: "224", "64x96"."""
    return "x".join(map(str, dict.fromkeys(config.data.height_width)))


def eval_dataset(
    config: Config, split: datasets.Split, limit: int | None = None
) -> Any:
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
    config: Config,
    splits: Splits,
    part: Representation,
    encoder: keras.Model,
    keep: Path | None = None,
) -> Rows:
    make = kept_features.features_of(config, keep, view=part.view)
    network = representations.network_of(part.name, config, encoder)
    assert splits.probe is not None and splits.eval is not None
    probe_limit, eval_limit = limits(config)
    return (
        make(network, splits.probe, probe_limit),
        make(network, splits.eval, eval_limit),
    )


def _pixel_features(
    config: Config, splits: Splits, part: Representation
) -> Rows | None:
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
            part.view.dataset(split, limit), name=split.split, max_gib=PIXELS_GIB
        )
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    return evaluation.pca256(raw[0], raw[1], seed=config.seed)
