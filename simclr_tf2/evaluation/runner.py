"""The evaluation of one encoder: protocols on h, with random weights and pixels too."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import keras

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.data import datasets
from simclr_tf2.evaluation import network_protocols, representations
from simclr_tf2.evaluation.baselines import (
    Baselines,
    baseline_rows,
    random_network,
    rows_of,
)
from simclr_tf2.evaluation.classifier import classify
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.frozen import assert_unchanged
from simclr_tf2.evaluation.inputs import Splits, capped_probes, limits
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.neighbour_overlap import nearest_others
from simclr_tf2.evaluation.representations import Representation
from simclr_tf2.evaluation.rows import EVALUATORS, evaluate_rows
from simclr_tf2.evaluation.transfer import protocol as transfer
from simclr_tf2.results import table
from simclr_tf2.results.rows import (
    BASELINE_ROWS,
    DEPTHS,
    FINETUNED_ROW,
    ONLINE_ROW,
    PIXELS_ROW,
)
from simclr_tf2.results.semi_table import render_semi

logger = logging.getLogger(__name__)

COMPARED_IMAGES = 2000  # [ours] of which neighbours are kept


def measure_model(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    baselines: Baselines | None = None,
    *,
    keep: Path | None = None,
) -> Measured:
    """Measure protocols on ``model`` and the accuracy of its classifier, if any.

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
        if record is None or record.get("row") in BASELINE_ROWS:
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
        with assert_unchanged(encoder):
            train, test = rows_of(config, splits, part, encoder, keep)
        found = evaluate_rows(
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
    """Sort rows of the network first, then of the random one, then of pixels."""
    rows = [p.row for p in chosen] + [p.random_row for p in chosen]
    rows.append(PIXELS_ROW)
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
    """Name what ``measure_model`` keeps predictions of; of a classifier, if any."""
    if splits.eval is None:
        return []
    names = [
        f"{part.row}/{protocol}"
        for part in representations.chosen(config)
        for protocol in part.protocols
    ]
    if DEPTHS in config.evaluation.protocols:
        names += [f"{row}/{DEPTHS}" for row in network_protocols.ROWS]
    online = config.training.lineareval_while_pretraining and splits.train.has_labels
    if splits.unseen and (online or _own_row(config) == FINETUNED_ROW):
        names.append(f"{_own_row(config)}/supervised")
    return names


def _own_row(config: Config) -> str:
    """Return the row of the classifier that a run has trained."""
    finetuned = "finetune" in (config.mode, config.train_mode)
    return FINETUNED_ROW if finetuned else ONLINE_ROW


def protocol_settings(config: Config) -> dict[str, dict[str, Any]]:
    """Return the settings of single protocols from the command line."""
    asked = config.evaluation
    knn = {
        "ks": asked.knn_k,
        "temperature": asked.knn_temperature,
        "metric": asked.knn_metric,
        "weighting": asked.knn_weighting,
    }
    return {"weighted_knn": knn}


def on_features(config: Config) -> tuple[str, ...]:
    """Select the protocols on frozen features: h, or feature5 (--svm_features)."""
    chosen = config.evaluation.protocols
    return tuple(name for name in chosen if name in EVALUATORS)


def _measure_network(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    measured: Measured,
    keep: Path | None,
) -> Measured:
    """Add results of the protocols that need more of the network than h."""
    chosen = config.evaluation.protocols
    with assert_unchanged(model):
        if "features" in chosen and splits.eval is not None:
            make = extractor.make_extractor(config, keep)
            stages, test = network_protocols.measure_stages(
                config, splits, model, make, limits(config)
            )
            measured = measured.joined(stages, test.labels)
        if measures_without_labels(config, splits):
            split = unlabelled_split(splits)
            measured.others["label_free"] = network_protocols.measure_without_labels(
                config,
                split,
                model,
                random=random_network(config) if config.evaluation.baselines else None,
            )
            make = extractor.make_extractor(config, keep)
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
        from simclr_tf2.evaluation import semi_supervised

        measured.others["semi"] = semi_supervised.measure_semi(config, model)
    return measured


def measures_without_labels(config: Config, splits: Splits) -> bool:
    """Return whether ``label_free`` is measured: asked for, or all there is."""
    chosen = config.evaluation.protocols
    return "label_free" in chosen or bool(chosen and splits.probe is None)


def unlabelled_split(splits: Splits) -> datasets.Split:
    """Return the split that ``label_free`` measures."""
    return splits.eval or splits.train


def render(measured: Measured) -> str:
    """Render everything measured as tables of plain text."""
    by_depth = {k: r for k, r in measured.results.items() if r["protocol"] == DEPTHS}
    others = {k: r for k, r in measured.results.items() if k not in by_depth}
    parts = [table.render(rows) for rows in (others, by_depth) if rows]
    if "label_free" in measured.others:
        found = measured.others["label_free"]
        parts.append(network_protocols.render_label_free(found))
    parts.append(transfer.render(measured.others))
    if "semi" in measured.others:
        parts.append(render_semi(measured.others["semi"]))
    return "\n\n".join(filter(None, parts))
