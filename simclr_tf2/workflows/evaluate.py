"""Measure the frozen encoder: protocols on h, beside a random encoder and pixels."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2 import evaluation, models, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.evaluation import Features
from simclr_tf2.startup import describe_environment
from simclr_tf2.training import checkpoints, run_folder
from simclr_tf2.workflows.splits import Splits, open_splits

logger = logging.getLogger(__name__)

PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


@dataclass(frozen=True)
class Measured:
    """Results by name, and the features they come from (None when none were made)."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: Features | None = None
    test: Features | None = None


def evaluate(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=eval``: measure the encoder of a finished run again.

    Data, network and training settings come from the run folder; protocols, splits and
    batch size from the command line. results.json of the run is renewed.

    Raises:
        ConfigError: No run, no encoder, or splits that cannot be scored.
    """
    if not config.model_dir:
        raise ConfigError("--mode=eval needs --model_dir: the folder of a finished run")
    if not config.evaluation.protocols:
        raise ConfigError("--mode=eval with empty --protocols has nothing to do")
    folder = Path(config.model_dir)
    trained = run_folder.read_config(folder)
    config = dataclasses.replace(
        trained, evaluation=_evaluation_of(config, trained), model_dir=config.model_dir
    )
    encoder = saved_model.load_encoder(folder)
    newest = checkpoints.list_checkpoints(folder)
    splits = open_splits(config)
    measured = measure(config, splits, encoder)
    document = results_document(
        config, measured.results, step=newest[0][0] if newest else None
    )
    name = config.evaluation.eval_name
    run_folder.write_json(
        folder / (f"results_{name}.json" if name else "results.json"), document
    )
    print(evaluation.render(measured.results), flush=True)
    return document


def _evaluation_of(config: Config, trained: Config) -> Any:
    """Evaluation settings of the command line; those left at default are the run's."""
    defaults = type(config.evaluation)()
    given = {
        f.name: getattr(config.evaluation, f.name)
        for f in dataclasses.fields(defaults)
        if getattr(config.evaluation, f.name) != getattr(defaults, f.name)
    }
    return dataclasses.replace(trained.evaluation, **given)


def measure(config: Config, splits: Splits, encoder: keras.Model) -> Measured:
    """Run ``config.evaluation.protocols`` on h and, if asked, on the baselines.

    Args:
        config: Whole config of the run.
        splits: Opened splits; ``probe`` and ``eval`` labelled.
        encoder: Images -> h; not moved by this (checked bit for bit).
    """
    if not config.evaluation.protocols:
        return Measured()
    assert splits.probe is not None and splits.eval is not None
    rows = {}
    with evaluation.assert_unchanged(encoder):
        rows["SimCLR h"] = _features(config, splits, encoder)
    if config.evaluation.baselines:
        rows["Random encoder h"] = _features(config, splits, random_encoder(config))
        pixels = _pixel_features(config, splits)
        if pixels is not None:
            rows["PCA-256 of pixels"] = pixels
    results = evaluation.evaluate_rows(
        rows, config.evaluation.protocols, seed=config.seed
    )
    return Measured(results, *rows["SimCLR h"])


def random_encoder(config: Config) -> keras.Model:
    """The same network with fresh weights: what the architecture alone gives."""
    keras.utils.set_random_seed(config.seed + 1)
    fresh = models.build_simclr(
        config.model, image_size=config.data.image_size, export=True
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
        "dataset": config.data.dataset,
        "step": step,
        "view": f"eval view, {config.data.image_size} px, float32",
        "seed": config.seed,
        "results": results,
        "environment": describe_environment(),
    }


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
    config: Config, splits: Splits, encoder: keras.Model
) -> tuple[Features, Features]:
    def encode(images):
        return encoder(images, training=False)

    def features(split: datasets.Split, limit: int | None) -> Features:
        dataset = eval_dataset(config, split, limit)
        return evaluation.extract(encode, dataset, name=split.split)

    assert splits.probe is not None and splits.eval is not None
    probe_limit, eval_limit = limits(config)
    return features(splits.probe, probe_limit), features(splits.eval, eval_limit)


def _pixel_features(config: Config, splits: Splits) -> tuple[Features, Features] | None:
    assert splits.probe is not None and splits.eval is not None
    counts = [
        min(split.num_examples, limit or split.num_examples)
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    size = max(counts) * config.data.image_size**2 * 3 * np.dtype(np.float32).itemsize
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
