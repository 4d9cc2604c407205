"""Measure the checkpoints of a run, now and as they come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from simclr_tf2 import distribution, evaluation, models, saved_model
from simclr_tf2.config import Config, ConfigError, DataConfig
from simclr_tf2.training import checkpoints, run_folder, summaries
from simclr_tf2.workflows import (
    best_checkpoint,
    comparison,
    fit,
    reporting,
    training_end,
)
from simclr_tf2.workflows.export import restore_model
from simclr_tf2.workflows.following import new_checkpoints, write_followed
from simclr_tf2.workflows.labelled import training_images
from simclr_tf2.workflows.measuring import (
    FINETUNED_ROW,
    Measured,
    Rows,
    baseline_rows,
    measure,
    measure_model,
    on_features,
    render,
    results_document,
)
from simclr_tf2.workflows.splits import Splits, open_splits, with_own_classifier

logger = logging.getLogger(__name__)


def evaluate(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=eval``: measure the checkpoints of a run, now and as they come.

    Data, network and training settings come from the run folder; protocols, splits and
    batch size from the command line. Of a run that is at its last step the newest
    checkpoint is measured; a run that is not is followed to its last step, unless
    ``--nowatch``. Each time results.json and report.html are renewed, TensorBoard gets
    the numbers, and with ``--best_metric`` the best checkpoint so far is kept.

    Raises:
        ConfigError: No run, nothing to measure, or splits that cannot be scored.
    """
    if not config.model_dir:
        raise ConfigError("--mode=eval needs --model_dir: the folder of a run")
    folder = Path(config.model_dir)
    trained = run_folder.read_config(folder)
    asked = config.evaluation
    config = dataclasses.replace(
        trained,
        data=_data_of(config.data, trained.data),
        evaluation=_evaluation_of(config, trained),
        distribution=config.distribution,
        model_dir=config.model_dir,
    )
    distribution.shared_strategy(config.distribution)  # before devices are counted
    splits = with_own_classifier(config, open_splits(config))
    total_steps = fit.steps_of(config, training_images(trained, splits.train))
    best = best_checkpoint.of_config(config, folder, splits)
    watch = asked.watch and not _is_complete(folder)
    log = summaries.EventLog(folder / f"tensorboard/{asked.eval_name or 'eval'}")
    baselines: dict[str, Rows] | None = None
    document = None
    keep = None if watch and _is_growing(folder, total_steps) else folder
    for _ in new_checkpoints(
        folder,
        total_steps=total_steps,
        watch=watch,
        timeout=asked.watch_timeout,
    ):
        model, step = restore_model(config, folder)
        _require_trained(folder, step)
        best_checkpoint.require_classifier(config, model.supervised_head is not None)
        with best.holding(step) if best else contextlib.nullcontext():
            if baselines is None:
                baselines = baseline_rows(config, splits)
            measured = measure_model(config, splits, model, baselines, keep=keep)
            results = measured.results
            own = [r for r in results.values() if r["row"] == FINETUNED_ROW]
            classes = splits.train.num_classes
            training_end.complete(own, folder, step=step, classes=classes)
            _require_anything(measured)
            chosen = best.offer(step, results, measured.others) if best else {}
        document = _renew(config, folder, measured, step, chosen)
        log.write(step, {name: record["value"] for name, record in results.items()})
        write_followed(folder, asked.eval_name, step, results)
        print(f"step {step}\n{render(measured)}", flush=True)
        if config.evaluation.report:
            _report(config, splits, model, measured, document)
    log.close()
    if document is None:
        return _measure_export(config, folder, splits)
    return document


def _measure_export(config: Config, folder: Path, splits: Splits) -> dict[str, Any]:
    """Measure encoder.keras of a folder that keeps no checkpoint."""
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
    return _renew(config, folder, measured, None)


def _renew(
    config: Config,
    folder: Path,
    measured: Measured,
    step: int | None,
    best: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished."""
    name = config.evaluation.eval_name
    path = folder / (f"results_{name}.json" if name else "results.json")
    document = results_document(
        config, measured.results, step=step, weights=measured.weights
    )
    document |= measured.others | ({"best": best} if best else {})
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


def _data_of(asked: DataConfig, trained: DataConfig) -> DataConfig:
    """The run's images, in the folder and with the share of labels now asked for."""
    changes: dict[str, Any] = {"download": asked.download or trained.download}
    if asked.data_dir != DataConfig().data_dir:
        changes["data_dir"] = asked.data_dir
    if asked.label_fraction < 1 or asked.labels_per_class:
        changes["label_fraction"] = asked.label_fraction
        changes["labels_per_class"] = asked.labels_per_class
    return dataclasses.replace(trained, **changes)


def _evaluation_of(config: Config, trained: Config) -> Any:
    """Evaluation settings of the command line; those left at default are the run's."""
    defaults = type(config.evaluation)()
    given = {
        f.name: getattr(config.evaluation, f.name)
        for f in dataclasses.fields(defaults)
        if getattr(config.evaluation, f.name) != getattr(defaults, f.name)
    }
    return dataclasses.replace(trained.evaluation, **given)


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
            "want of labels, and the run has no classifier"
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
