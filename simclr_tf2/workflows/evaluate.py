"""Measure the checkpoints of a run, now and as they come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2 import distribution, evaluation, models, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.training import checkpoints, run_folder, summaries
from simclr_tf2.workflows import (
    best_checkpoint,
    comparison,
    eval_settings,
    reporting,
    training_end,
)
from simclr_tf2.workflows.eval_settings import Merged
from simclr_tf2.workflows.export import restore_model
from simclr_tf2.workflows.following import new_checkpoints, scalars, write_followed
from simclr_tf2.workflows.measuring import (
    FINETUNED_ROW,
    Measured,
    Rows,
    baseline_rows,
    limits,
    measure,
    measure_model,
    on_features,
    predicted,
    render,
    results_document,
)
from simclr_tf2.workflows.run_length import last_step
from simclr_tf2.workflows.splits import (
    Splits,
    open_splits,
    shared_images,
    with_own_classifier,
)

logger = logging.getLogger(__name__)


def evaluate(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=eval``: measure the checkpoints of a run, now and as they come.

    The network comes from the run folder, and so do the images unless the command line
    names others; protocols, splits and batch size come from the command line. Of a run
    that is at its last step the newest checkpoint is measured; a run that is not is
    followed to its last step, unless ``--nowatch``. Each time results.json and
    report.html are renewed, TensorBoard gets the numbers, and with ``--best_metric``
    the best checkpoint so far is kept.

    Raises:
        ConfigError: No run, nothing to measure, or splits that cannot be scored.
    """
    if not config.model_dir:
        raise ConfigError("--mode=eval needs --model_dir: the folder of a run")
    folder = Path(config.model_dir)
    trained = run_folder.read_config(folder)
    eval_settings.warn_of_no_effect(config, trained)
    merged = eval_settings.merged(config, trained)
    asked, config = config.evaluation, merged.config
    _require_same_images_as_before(merged, folder)
    distribution.shared_strategy(config.distribution)  # before devices are counted
    splits = _open(merged)
    other = _other_run(config, splits)
    total_steps = last_step(merged, folder, splits)
    best = best_checkpoint.of_config(config, folder, splits)
    watch = asked.watch and total_steps is not None and not _is_complete(folder)
    name = config.evaluation.eval_name
    log = summaries.EventLog(folder / f"tensorboard/{name or 'eval'}")
    baselines: dict[str, Rows] | None = None
    document = None
    growing = watch and _is_growing(folder, total_steps or 0)
    for _ in new_checkpoints(
        folder,
        total_steps=total_steps or 0,
        watch=watch,
        timeout=asked.watch_timeout,
    ):
        model, step = restore_model(config, folder)
        _require_trained(folder, step)
        has_classifier = model.supervised_head is not None and splits.own
        best_checkpoint.require_classifier(config, has_classifier)
        with best.holding(step) if best else contextlib.nullcontext():
            if baselines is None:
                baselines = baseline_rows(config, splits)
            measured = measure_model(
                config, splits, model, baselines, keep=None if growing else folder
            )
            results = measured.results
            own = [r for r in results.values() if r["row"] == FINETUNED_ROW]
            classes = splits.train.num_classes or 1
            training_end.complete(own, folder, step=step, classes=classes)
            _require_anything(measured)
            chosen = best.offer(step, results, measured.others) if best else {}
        values = {key: record["value"] for key, record in results.items()}
        log.write(step, values | scalars(measured.others))
        write_followed(folder, name, step, results, measured.others)
        where = "" if splits.own else f", measured on {config.data.source}"
        print(f"step {step}{where}\n{render(measured)}", flush=True)
        document = _renew(merged, splits, measured, step, chosen, other)
        if config.evaluation.report:
            _report(config, splits, model, measured, document)
    log.close()
    if document is None:
        return _measure_export(merged, splits, other)
    return document


def _open(merged: Merged) -> Splits:
    """The splits, checked as strictly as the command line asked for protocols."""
    config = merged.config
    strict = "protocols" in merged.asked
    try:
        splits = open_splits(config, strict=strict, refuse_shared=True)
    except ConfigError as error:
        default = f"has no split {config.evaluation.eval_split!r}"
        if merged.own or "eval_split" in merged.asked or default not in str(error):
            raise
        raise ConfigError(f"{error}; name one with --eval_split") from error
    splits = dataclasses.replace(splits, own=merged.own)
    return with_own_classifier(config, splits) if merged.own else splits


def _other_run(config: Config, splits: Splits) -> comparison.Other | None:
    """What ``--compare_with`` names, checked before anything is measured."""
    asked = config.evaluation
    if not asked.compare_with:
        return None
    other = comparison.load(asked.compare_with, name=asked.eval_name)
    keys = predicted(config, splits)
    comparison.check(other, keys, _images(config, splits) if keys else {})
    return other


def _images(config: Config, splits: Splits) -> dict[str, Any]:
    assert splits.eval is not None
    return comparison.images_of(splits.eval, limits(config)[1])


def _require_same_images_as_before(merged: Merged, folder: Path) -> None:
    """Refuse to mix two data sets in files that got their name by themselves."""
    name, source = merged.config.evaluation.eval_name, merged.config.data.source
    if merged.own or "eval_name" in merged.asked:
        return
    before = _read_document(folder, name).get("dataset", source)
    if before != source:
        raise ConfigError(
            f"{_results_path(folder, name)} is about {before}, and this is about "
            f"{source}; pass an --eval_name of its own"
        )


def _measure_export(
    merged: Merged, splits: Splits, other: comparison.Other | None
) -> dict[str, Any]:
    """Measure encoder.keras of a folder that keeps no checkpoint."""
    config = merged.config
    assert config.model_dir is not None
    folder = Path(config.model_dir)
    encoder = saved_model.load_encoder(folder)
    if not config.evaluation.protocols:
        raise ConfigError(
            f"{folder} holds an encoder only, and with empty --protocols there is "
            "nothing to measure"
        )
    if config.evaluation.best_metric:
        logger.warning(
            "--best_metric=%s has no effect: %s holds no checkpoint to keep",
            config.evaluation.best_metric,
            folder,
        )
    left_out = set(config.evaluation.protocols) - set(on_features(config))
    if left_out:
        logger.warning(
            "%s holds an encoder only; left out, for want of a checkpoint: %s",
            folder,
            ", ".join(sorted(left_out)),
        )
    measured = measure(config, splits, encoder)
    print(evaluation.render(measured.results), flush=True)
    return _renew(merged, splits, measured, None, {}, other)


def _renew(
    merged: Merged,
    splits: Splits,
    measured: Measured,
    step: int | None,
    best: dict[str, Any],
    other: comparison.Other | None,
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished."""
    config = merged.config
    assert config.model_dir is not None
    folder, name = Path(config.model_dir), config.evaluation.eval_name
    path = _results_path(folder, name)
    document = results_document(
        config, measured.results, step=step, weights=measured.weights
    )
    if not merged.own:
        document["trained_on"] = merged.trained.data.source
    document |= facts_of_splits(splits)
    document |= measured.others | ({"best": best} if best else {})
    before = _read_document(folder, name)
    if before.get("step") == step or step is None:
        kept = ("timings", "finished")
        document |= {key: before[key] for key in kept if key in before}
    run_folder.write_json(path, document)
    keep_predictions(config, folder, measured, splits)
    if other is not None:
        labels = measured.labels if measured.labels is not None else other.labels
        document["comparison"] = comparison.compare(
            measured.predictions, np.asarray(labels), other
        )
        print(comparison.render(document["comparison"], other.name), flush=True)
        run_folder.write_json(path, document)
    if not merged.own:
        logger.info("%s: every number with what it rests on", path)
    return document


def _results_path(folder: Path, name: str | None) -> Path:
    return folder / (f"results_{name}.json" if name else "results.json")


def _read_document(folder: Path, name: str | None) -> dict[str, Any]:
    """What an earlier evaluation of this name wrote; empty if nothing readable."""
    try:
        found = json.loads(_results_path(folder, name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts_of_splits(splits: Splits) -> dict[str, Any]:
    """What results.json says of images that are both learned from and tested on."""
    shared = shared_images(splits)
    return {"images_in_both_splits": shared} if shared else {}


def keep_predictions(
    config: Config, folder: Path, measured: Measured, splits: Splits
) -> None:
    """Write what was predicted for every test image, for ``--compare_with``."""
    if measured.predictions:
        assert measured.labels is not None
        comparison.save_predictions(
            comparison.predictions_path(folder, config.evaluation.eval_name),
            measured.predictions,
            measured.labels,
            _images(config, splits),
        )


def _is_complete(folder: Path) -> bool:
    """Whether no run will add to a folder: a kept best, or an encoder without a run."""
    encoder = (folder / "encoder.keras").exists()
    alone = encoder and not checkpoints.list_checkpoints(folder)
    return best_checkpoint.is_kept(folder) or alone


def _is_growing(folder: Path, total_steps: int) -> bool:
    found = checkpoints.list_checkpoints(folder)
    return not found or found[0][0] < total_steps


def _comparison_text(config: Config, document: dict[str, Any]) -> str:
    other = config.evaluation.compare_with
    return comparison.render(document["comparison"], other) if other else ""


def _require_anything(measured: Measured) -> None:
    if not measured.results and not measured.others:
        raise ConfigError(
            "--mode=eval has nothing to measure: --protocols is empty, or skipped for "
            "want of labels, and the run has no classifier (which is scored on its own "
            "data set only)"
        )


def _require_trained(folder: Path, step: int) -> None:
    """Refuse the weights of step 0: neither encoder nor head has learned anything."""
    if step == 0:
        raise ConfigError(
            f"{folder} holds an untrained network (ckpt-0): train it before it is "
            "measured; --baselines gives the numbers of a random encoder"
        )


def _report(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    measured: Measured,
    document: dict[str, Any],
) -> None:
    """Renew report.html, or report_NAME.html, with what was just measured."""
    assert config.model_dir is not None
    folder = Path(config.model_dir)
    path = reporting.write(
        config,
        splits,
        models.build_encoder(model.backbone),
        measured,
        folder,
        files=reporting.files_there(folder, config.evaluation.eval_name),
        timings=document.get("timings", {}),
        comparison=_comparison_text(config, document),
    )
    logger.info("%s is renewed", path)
