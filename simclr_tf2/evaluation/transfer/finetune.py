"""Transfer by fine-tuning the whole network (SimCLR, appendix B.8.1)."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2.data import subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.transfer_splits import TransferSplits
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.evaluation.transfer import grid as transfer_grid
from simclr_tf2.evaluation.transfer.grid import Trial
from simclr_tf2.evaluation.transfer.network import TransferNetwork, steps_of
from simclr_tf2.evaluation.transfer.scores import score_logits
from simclr_tf2.run_paths import RunFolder

logger = logging.getLogger(__name__)


def measure_finetuned(
    conditions: Conditions,
    encoder: keras.Model,
    opened: TransferSplits,
    *,
    name: str,
    method: str,
    keep: Path | None,
) -> dict[str, Any]:
    """Search rate and decay on validation, train on both, score on test, once.

    Args:
        conditions: Settings and devices.
        encoder: Its weights are where ``finetune`` starts; not moved.
        opened: The data set.
        name: Of the data set, for the file of trials.
        method: ``"finetune"`` or ``"random_init"``.
        keep: The run folder, or None.

    Returns:
        Ready for JSON: ``value``, ``ci95`` and what else ``score_logits`` returns; the
        recipe, every trial and the chosen pair.

    Raises:
        ConfigError: Labels that nothing can be learned from or scored with, or every
            trial diverged.
    """
    started = time.perf_counter()
    _require_scorable(name, opened)
    settings = _settings(conditions, encoder, opened, method)
    path = RunFolder(keep).trials(method, _file_name(name)) if keep else None
    make = functools.partial(
        TransferNetwork, conditions, encoder, method=method, metric=opened.metric
    )
    trials, network = _search(conditions, opened, make, method, path, settings)
    best = transfer_grid.best_trial(trials)
    both = opened.read(opened.train_and_validation)
    if network is None or not network.fits(both):
        network = make(both)
    logits = network.train_and_predict(best, both, opened.test)
    if logits is None:
        raise ConfigError(
            "fine-tuning on train and validation diverged with the chosen learning "
            f"rate {best.learning_rate:g}; pass another --transfer_grid"
        )
    return {
        **score_logits(logits, metric=opened.metric, seed=conditions.seed),
        "learning_rate": best.learning_rate,
        "weight_decay": best.weight_decay,
        "learning_rate_at_edge": transfer_grid.on_edge(trials, best),
        "validation_score": best.score,
        "validation_measure": opened.metric,
        "validation_examples": opened.validation.num_examples,
        "train_only_examples": opened.train.num_examples,
        "trials": [dataclasses.asdict(trial) for trial in trials],
        "refit": "train and validation",
        "steps": settings["steps"],
        "global_batch_size": network.batch,
        "replicas": network.replicas,
        "batch_norm_momentum": network.batch_norm_momentum,
        "optimizer": "SGD, Nesterov momentum 0.9, cosine to 0",
        "augmentation": "random crop and flip",
        "weights": settings["weights"],
        "seed": conditions.seed,
        "seconds": time.perf_counter() - started,
    }


def _search(
    conditions: Conditions,
    opened: TransferSplits,
    make: Callable[[Split], TransferNetwork],
    method: str,
    path: Path | None,
    settings: dict[str, Any],
) -> tuple[list[Trial], TransferNetwork | None]:
    """Train with every pair of the grid on train, and score on validation.

    Returns:
        The trials, and the network that made them; None if all were kept before.
    """
    rates, decays = conditions.evaluation.transfer_grid_size
    grid = transfer_grid.make_grid(method, learning_rates=rates, weight_decays=decays)
    network = None

    def run(pair: Trial) -> float | None:
        nonlocal network
        network = network or make(opened.train)
        logits = network.train_and_predict(pair, opened.train, opened.validation)
        if logits is None:
            return None
        return float(score_logits(logits, metric=opened.metric)["value"])

    return transfer_grid.search(grid, run, path=path, settings=settings), network


def _require_scorable(name: str, opened: TransferSplits) -> None:
    """Check the labels before hours of training."""
    parts = {
        role: subset.labels_of(getattr(opened, role))
        for role in ("train", "validation", "test")
    }
    if opened.metric == "map11":
        for role, labels in parts.items():
            if labels.ndim != 2 or not (labels == 1).any():
                raise ConfigError(
                    f"the {role} split needs several yes-or-no labels an image "
                    "and an image of one of the classes, for mAP"
                )
        return
    known = np.unique(parts["train"])
    if len(known) < 2:
        raise ConfigError(
            f"all {len(parts['train'])} training images are of one class; a "
            "classifier needs at least two"
        )
    for role in ("validation", "test"):
        missing = np.setdiff1d(parts[role], known)
        if len(missing):
            logger.warning(
                "%s: %d class(es) of %s have no training image (first: %d); their "
                "images count as errors",
                name,
                len(missing),
                role,
                missing[0],
            )


def _settings(
    conditions: Conditions, encoder: keras.Model, opened: TransferSplits, method: str
) -> dict[str, Any]:
    """Return the settings that a trial rests on, beside the pair itself."""
    splits = (opened.train, opened.validation)
    replicas = extractor.replica_count(conditions.strategy)
    return {
        "method": method,
        "weights": feature_cache.digest_of_weights(encoder)
        if method == "finetune"
        else None,
        "data": [f"{split.name}:{split.split}" for split in splits],
        "images": [split.source.fingerprint for split in splits],
        "metric": opened.metric,
        "steps": steps_of(conditions, method),
        "global_batch_size": conditions.evaluation.transfer_batch_size
        // replicas
        * replicas,
        "image_size": list(conditions.data.height_width),
        "mixed_precision": conditions.training.mixed_precision,
        "zero_init_logits_layer": conditions.model.zero_init_logits_layer,
        "seed": conditions.seed,
    }


def _file_name(name: str) -> str:
    """Return a name that a file can have; a changed one gets a digest.

    The digest keeps apart names that would become equal.
    """
    plain = re.sub(r"[^\w.-]", "_", name)
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return plain if plain == name else f"{plain}-{digest}"
