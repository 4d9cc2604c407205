"""Measure the frozen encoder: protocols on h, beside a random encoder and pixels."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2 import evaluation, models, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.evaluation import Features, feature_cache
from simclr_tf2.evaluation.transfer import render_transfer
from simclr_tf2.startup import describe_environment
from simclr_tf2.training import checkpoints, run_folder, summaries
from simclr_tf2.workflows import comparison, fit, kept_features, model_protocols
from simclr_tf2.workflows.export import restore_model
from simclr_tf2.workflows.following import new_checkpoints
from simclr_tf2.workflows.splits import Splits, open_splits
from simclr_tf2.workflows.transfer import parse_datasets, transfer

logger = logging.getLogger(__name__)

Rows = tuple[Features, Features]  # of the probe and the evaluation split
PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


@dataclass(frozen=True)
class Measured:
    """Results by name, and the features they come from (None when none were made).

    ``predictions`` holds the predicted label of every test image, by the same names;
    ``others`` what is no row of the table, by protocol.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    train: Features | None = None
    test: Features | None = None
    others: dict[str, Any] = field(default_factory=dict)


def evaluate(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=eval``: measure the checkpoints of a run, now and as they come.

    Data, network and training settings come from the run folder; protocols, splits and
    batch size from the command line. Of a run that is at its last step the newest
    checkpoint is measured; a run that is not is followed to its last step, unless
    ``--nowatch``. Each time results.json is renewed and TensorBoard gets the numbers.

    Raises:
        ConfigError: No run, nothing to measure, or splits that cannot be scored.
    """
    if not config.model_dir:
        raise ConfigError("--mode=eval needs --model_dir: the folder of a run")
    folder = Path(config.model_dir)
    trained = run_folder.read_config(folder)
    asked = config.evaluation
    config = dataclasses.replace(
        trained, evaluation=_evaluation_of(config, trained), model_dir=config.model_dir
    )
    splits = open_splits(config)
    total_steps = fit.steps_of(config, splits.train)
    log = summaries.EventLog(folder / f"tensorboard/{asked.eval_name or 'eval'}")
    baselines: dict[str, Rows] | None = None
    document = None
    keep = None if asked.watch and _is_growing(folder, total_steps) else folder
    for _ in new_checkpoints(
        folder,
        total_steps=total_steps,
        watch=asked.watch,
        timeout=asked.watch_timeout,
    ):
        model, step = restore_model(config, folder)
        if baselines is None:
            baselines = baseline_rows(config, splits)
        measured = measure_model(config, splits, model, baselines, keep=keep)
        results = measured.results
        if not results and not measured.others:
            raise ConfigError(
                "--mode=eval has nothing to measure: --protocols is empty, or skipped "
                "for want of labels, and the run has no classifier"
            )
        document = _renew(config, folder, measured, step)
        log.write(step, {name: record["value"] for name, record in results.items()})
        print(f"step {step}\n{render(measured)}", flush=True)
    log.close()
    if document is None:
        return _measure_export(config, folder, splits)
    return document


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
    results = measured.results
    _measure_network(config, splits, model, measured, keep)
    if model.supervised_head is not None and splits.eval is not None:
        finetuned = "finetune" in (config.mode, config.train_mode)
        row = "Fine-tuned network" if finetuned else "Online linear head"
        results.update(classify(config, splits.eval, model, row=row))
    return measured


def _measure_export(config: Config, folder: Path, splits: Splits) -> dict[str, Any]:
    """Measure encoder.keras of a folder that keeps no checkpoint."""
    encoder = saved_model.load_encoder(folder)
    if not config.evaluation.protocols:
        raise ConfigError(
            f"{folder} holds an encoder only, and with empty --protocols there is "
            "nothing to measure"
        )
    measured = measure(config, splits, encoder)
    print(evaluation.render(measured.results), flush=True)
    return _renew(config, folder, measured, None)


def _renew(
    config: Config, folder: Path, measured: Measured, step: int | None
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished."""
    name = config.evaluation.eval_name
    path = folder / (f"results_{name}.json" if name else "results.json")
    document = results_document(config, measured.results, step=step)
    document |= measured.others
    keep_predictions(config, folder, measured)
    other = config.evaluation.compare_with
    if other:
        document["comparison"] = comparison.compare(folder, other, name=name)
        print(comparison.render(document["comparison"], other), flush=True)
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = {}
    if before.get("step") == step or step is None:
        kept = ("timings", "finished")
        document |= {key: before[key] for key in kept if key in before}
    run_folder.write_json(path, document)
    return document


def keep_predictions(config: Config, folder: Path, measured: Measured) -> None:
    """Write what was predicted for every test image, for ``--compare_with``."""
    if measured.predictions:
        assert measured.test is not None
        comparison.save_predictions(
            comparison.predictions_path(folder, config.evaluation.eval_name),
            measured.predictions,
            measured.test.labels,
        )


def _evaluation_of(config: Config, trained: Config) -> Any:
    """Evaluation settings of the command line; those left at default are the run's."""
    defaults = type(config.evaluation)()
    given = {
        f.name: getattr(config.evaluation, f.name)
        for f in dataclasses.fields(defaults)
        if getattr(config.evaluation, f.name) != getattr(defaults, f.name)
    }
    return dataclasses.replace(trained.evaluation, **given)


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
        rows = {"SimCLR h": _features(config, splits, encoder, keep)}
    rows |= baseline_rows(config, splits) if baselines is None else baselines
    results = evaluation.evaluate_rows(
        rows, protocols, seed=config.seed, keep_predictions=True
    )
    predictions = {
        name: np.asarray(record.pop("predictions"))
        for name, record in results.items()
        if "predictions" in record
    }
    digest = feature_cache.digest_of_weights(encoder)
    for record in results.values():
        if record["row"] == "SimCLR h":
            record["weights"] = digest
    return Measured(results, predictions, *rows["SimCLR h"])


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
) -> None:
    """Add what the protocols find that need more of the network than h."""
    chosen = config.evaluation.protocols
    with evaluation.assert_unchanged(model):
        if "features" in chosen and splits.eval is not None:
            make = kept_features.features_of(config, keep)
            measured.results.update(
                model_protocols.measure_stages(
                    config, splits, model, make, limits(config)
                )
            )
        unlabelled = chosen and splits.probe is None  # what can be said of those
        if "label_free" in chosen or unlabelled:
            split = splits.eval or splits.train
            measured.others["label_free"] = model_protocols.measure_without_labels(
                config, split, model
            )
    if "transfer" in chosen:
        names, folders = parse_datasets(config.evaluation.transfer_datasets)
        encoder = models.build_encoder(model.backbone)
        measured.others["transfer"] = transfer(
            config, encoder, names=names, folders=folders
        )


def render(measured: Measured) -> str:
    """Everything measured, as tables of plain text."""
    parts = [evaluation.render(measured.results)] if measured.results else []
    if "label_free" in measured.others:
        found = measured.others["label_free"]
        parts.append(model_protocols.render_label_free(found))
    if "transfer" in measured.others:
        parts.append(render_transfer(measured.others["transfer"]))
    return "\n\n".join(parts)


def _is_growing(folder: Path, total_steps: int) -> bool:
    found = checkpoints.list_checkpoints(folder)
    return not found or found[0][0] < total_steps


def baseline_rows(config: Config, splits: Splits) -> dict[str, Rows]:
    """Features that no training made: of a random encoder and of pixels."""
    wanted = config.evaluation.baselines and on_features(config)
    if not (wanted and splits.eval):
        return {}
    rows = {"Random encoder h": _features(config, splits, random_encoder(config))}
    pixels = _pixel_features(config, splits)
    if pixels is not None:
        rows["PCA-256 of pixels"] = pixels
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
    row: str = "Fine-tuned network",
) -> dict[str, dict[str, Any]]:
    """Top-1 and top-5 of the model's own classifier on a labelled split.

    Args:
        config: Whole config.
        split: Where; labelled.
        model: With a supervised head.
        row: Name of the row in the table.

    Returns:
        One record, as ``evaluation.evaluate_rows`` makes them.
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
    }
    return {f"{row}/supervised": record}


def results_document(
    config: Config, results: dict[str, dict[str, Any]], *, step: int | None
) -> dict[str, Any]:
    """What results.json holds: every value with what it rests on."""
    return {
        "dataset": config.data.source,
        "step": step,
        "view": f"eval view, {view_size(config)} px, float32",
        "seed": config.seed,
        "results": results,
        "environment": describe_environment(),
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
