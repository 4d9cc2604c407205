"""The evaluation of one network: protocols on its features and those of baselines."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from simclr_tf2 import models, protocols
from simclr_tf2.config import EvaluationConfig
from simclr_tf2.evaluation import representations, stage_features
from simclr_tf2.evaluation.baselines import Baselines, baseline_rows, rows_of
from simclr_tf2.evaluation.classifier import classify
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.features.frozen import assert_unchanged
from simclr_tf2.evaluation.inputs import capped_probes
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.representations import Representation
from simclr_tf2.evaluation.rows import evaluate_rows
from simclr_tf2.evaluation.subject import Conditions, Subject
from simclr_tf2.results import table
from simclr_tf2.results.rows import (
    BASELINE_ROWS,
    FINETUNED_ROW,
    ONLINE_ROW,
    PIXELS_ROW,
)

logger = logging.getLogger(__name__)


def measure_model(
    conditions: Conditions,
    model: models.SimCLR,
    baselines: Baselines | None = None,
    *,
    keep: Path | None = None,
) -> Measured:
    """Measure protocols on ``model`` and the accuracy of its classifier, if any.

    Args:
        conditions: Images, settings and devices.
        model: The network in export form.
        baselines: An earlier result of ``baseline_rows``; None: it is computed now.
        keep: Folder of the cached features.
    """
    subject = Subject.of(conditions, model, keep)
    images = conditions.images
    measured = measure(conditions, subject.encoder, baselines=baselines, keep=keep)
    for name in _of_the_network(conditions):
        measure_network = protocols.load(protocols.PROTOCOLS[name].measure)
        with assert_unchanged(model):
            measured = measured.with_more(measure_network(subject))
    if (
        model.supervised_head is not None
        and images.eval is not None
        and images.score_classifier
    ):
        own = classify(conditions, images.eval, model, row=_own_row(conditions))
        measured = measured.joined(*own)
    digest = feature_cache.digest_of_weights(model)
    for record in [*measured.results.values(), measured.others.get("label_free")]:
        others = {*BASELINE_ROWS, *conditions.evaluation.baseline}
        if record is None or record.get("row") in others:
            continue
        record.setdefault("weights", digest)
    _mark_capped(conditions, measured.results)
    return dataclasses.replace(measured, weights=digest)


def measure(
    conditions: Conditions,
    encoder: keras.Model,
    *,
    baselines: Baselines | None = None,
    keep: Path | None = None,
) -> Measured:
    """Run the protocols on frozen features and, if asked, on those of the baselines.

    Args:
        conditions: Images, settings and devices.
        encoder: Images -> h; its weights do not change (checked bit for bit).
        baselines: An earlier result of ``baseline_rows``; None: it is computed now.
        keep: Folder of the cached features of ``encoder``.
    """
    asked = conditions.evaluation
    chosen = representations.chosen(asked, conditions.data)
    if not chosen or conditions.images.eval is None:
        return Measured()
    digest = feature_cache.digest_of_weights(encoder)
    if baselines is None:
        baselines = baseline_rows(conditions)
    results: dict[str, dict[str, Any]] = {}
    measured = Measured(weights=digest)
    for part in chosen:
        with assert_unchanged(encoder):
            train, test = rows_of(conditions, part, encoder, keep)
        found = evaluate_rows(
            {part.row: (train, test), **baselines.get(part.name, {})},
            part.protocols,
            seed=conditions.seed,
            keep_predictions=True,
            keep_classifiers=True,
            settings={name: _settings_of(name, asked) for name in part.protocols},
        )
        for record in found.values():
            record |= part.facts
            if record["row"] == part.row:
                record["weights"] = digest
        results |= found
        if part.name == "h":  # the features that the report shows
            measured = dataclasses.replace(measured, train=train, test=test)
    _mark_capped(conditions, results)
    ordered = _in_order(results, chosen, asked.baseline)
    return measured.joined(ordered, test.labels)


def _settings_of(name: str, asked: EvaluationConfig) -> dict[str, Any]:
    """Return the settings of a protocol as arguments of its function."""
    settings = protocols.PROTOCOLS[name].settings
    return {parameter: getattr(asked, field) for parameter, field in settings.items()}


def _of_the_network(conditions: Conditions) -> tuple[str, ...]:
    """Return the protocols that read the network and can be measured.

    Without labels, ``label_free`` is always among them unless no protocol was asked
    for.
    """
    asked = set(conditions.evaluation.protocols)
    if measures_without_labels(conditions):
        asked |= {"label_free"}
    if conditions.images.eval is None:
        asked &= set(protocols.that_take("none"))
    return protocols.on_network(asked)


def _in_order(
    results: dict[str, dict[str, Any]],
    chosen: list[Representation],
    others: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Sort the rows: the network, other trained ones, a random encoder, pixels."""
    random = [p.random_row for p in chosen]
    rows = [*(p.row for p in chosen), *others, *random, PIXELS_ROW]
    keys = sorted(results, key=lambda key: rows.index(results[key]["row"]))
    return {key: results[key] for key in keys}


def _mark_capped(conditions: Conditions, results: dict[str, dict[str, Any]]) -> None:
    """Say in the records that --probe_examples left training images out."""
    asked, probe = conditions.evaluation, conditions.images.probe
    for protocol in capped_probes(asked, probe):
        assert probe is not None
        for record in results.values():
            if record["protocol"] == protocol:
                record["train_examples_available"] = probe.num_examples
                record["capped_by"] = f"--probe_examples={asked.probe_examples}"


def predicted(conditions: Conditions) -> list[str]:
    """Return the names of the rows of which ``measure_model`` keeps predictions."""
    images, asked = conditions.images, conditions.evaluation
    if images.eval is None:
        return []
    names = [
        f"{part.row}/{protocol}"
        for part in representations.chosen(asked, conditions.data)
        for protocol in part.protocols
    ]
    if "features" in asked.protocols:
        names += [f"{row}/features" for row in stage_features.ROWS]
    has_labels = images.train.has_labels
    online = conditions.training.lineareval_while_pretraining and has_labels
    if images.score_classifier and (online or conditions.finetuned):
        names.append(f"{_own_row(conditions)}/supervised")
    return names


def _own_row(conditions: Conditions) -> str:
    """Return the name of the row of the run's own classifier."""
    return FINETUNED_ROW if conditions.finetuned else ONLINE_ROW


def measures_without_labels(conditions: Conditions) -> bool:
    """Return whether ``label_free`` is measured: asked for, or in lack of labels."""
    chosen = conditions.evaluation.protocols
    return "label_free" in chosen or bool(chosen and conditions.images.probe is None)


def render(measured: Measured) -> str:
    """Render all results as tables of plain text."""
    common = dict(measured.results)
    tables = []
    for name, protocol in protocols.PROTOCOLS.items():
        if protocol.table:
            own = {k: r for k, r in measured.results.items() if r["protocol"] == name}
            common = {key: r for key, r in common.items() if key not in own}
            records = own or protocols.records_of(name, measured.others)
            if records:
                tables.append(protocols.load(protocol.table)(records))
    return "\n\n".join([*([table.render(common)] if common else []), *tables])
