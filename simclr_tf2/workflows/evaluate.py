"""Measure the checkpoints of a run, now and as they come."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from simclr_tf2 import (
    addresses,
    distribution,
    evaluation,
    models,
    saved_model,
    startup,
)
from simclr_tf2.config import Config, EvaluationConfig
from simclr_tf2.data import overlap
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import best_metric, valid_loss
from simclr_tf2.evaluation.baselines import Baselines, baseline_rows, open_baseline
from simclr_tf2.evaluation.inputs import Splits, open_splits, with_own_classifier
from simclr_tf2.evaluation.kept_results import (
    facts_of_splits,
    keep_predictions,
    label_free_images,
    tested_images,
    with_worth,
)
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.provenance import provenance
from simclr_tf2.evaluation.runner import (
    measure,
    measure_model,
    measures_without_labels,
    predicted,
    render,
)
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.exports.formats import Exported, write_classifier
from simclr_tf2.protocols import VALID_LOSS, on_features
from simclr_tf2.report import run_report
from simclr_tf2.results import comparison, label_free_comparison, other_runs
from simclr_tf2.results import document as results_file
from simclr_tf2.results import predictions as kept_predictions
from simclr_tf2.results.curve import scalars, write_followed
from simclr_tf2.results.other_runs import OtherRun
from simclr_tf2.results.rows import FINETUNED_ROW
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import best_checkpoint, checkpoints, eval_settings, logs
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.eval_settings import Merged
from simclr_tf2.runs.following import new_checkpoints
from simclr_tf2.runs.restoring import restore_model
from simclr_tf2.training import chance
from simclr_tf2.training.labelled import divided
from simclr_tf2.training.length import last_step
from simclr_tf2.training.splits import labelled_part, open_split
from simclr_tf2.workflows import classifiers

logger = logging.getLogger(__name__)


def evaluate(config: Config) -> dict[str, Any]:
    """Run ``--mode=eval``: measure the checkpoints of a run, now and as they come.

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
    folder = addresses.local(config.model_dir)
    trained = run_folder.read_config(folder)
    eval_settings.warn_of_no_effect(config, trained)
    merged = eval_settings.merged(config, trained)
    asked, config = config.evaluation, merged.config
    _require_same_images_as_before(merged)
    _require_no_own_classifier(merged)
    distribution.local_strategy(config.distribution)  # before devices are counted
    conditions = Conditions.of(config, _open(merged))
    for source in config.evaluation.baseline:
        open_baseline(source, config.data)  # refused now, not at the first checkpoint
    others = _other_runs(conditions)
    startup.log_kernels()
    document = _measure_each(merged, conditions, others, asked)
    if document is None:
        return _measure_export(merged, conditions, others)
    return document


def _require_no_own_classifier(merged: Merged) -> None:
    """Refuse to write the classifier of a protocol over a fine-tuned one."""
    name = merged.config.evaluation.classifier_from
    if name and merged.trained.workflow == "finetune":
        raise ConfigError(
            f"--classifier_from={name} would replace the fine-tuned classifier of "
            f"{merged.config.model_dir}; evaluate the run that it starts from"
        )


@evaluation.logged_once(*evaluation.LOGGERS)
def _measure_each(
    merged: Merged,
    conditions: Conditions,
    others: Sequence[OtherRun],
    asked: EvaluationConfig,
) -> dict[str, Any] | None:
    """Measure each checkpoint as it comes; return the last content of results.json."""
    config, folder = merged.config, run_folder.of(merged.config)
    total_steps = last_step(merged, folder.path, conditions.images.train)
    splits = _with_held_out(merged, conditions.images)
    conditions = dataclasses.replace(conditions, images=splits)
    best = best_metric.make(conditions, folder)
    watch = asked.watch and total_steps is not None and not _is_complete(folder)
    growing = watch and _is_growing(folder, total_steps or 0)
    log = logs.EventLog(folder.evaluation_events)
    baselines: Baselines | None = None
    document, last = None, None
    for _ in new_checkpoints(
        folder.path,
        total_steps=total_steps or 0,
        watch=watch,
        timeout=asked.watch_timeout,
    ):
        model, step = restore_model(config, folder.path)
        if step == last:  # the newest was already there when the one before was read
            continue
        last = step
        _require_trained(folder, step)
        has_classifier = model.supervised_head is not None and splits.score_classifier
        best_metric.require_classifier(config.evaluation, has_classifier)
        with best.holding(step) if best else contextlib.nullcontext():
            if baselines is None:
                baselines = baseline_rows(conditions)
            measured = measure_model(
                conditions, model, baselines, keep=None if growing else folder.path
            )
            if merged.trained.workflow == "pretrain":
                measured = with_worth(measured, merged.trained.data)
            _complete_own(measured, splits, folder, step)
            _require_anything(measured)
            results = measured.results
            found = dict(measured.others)
            if splits.held:
                found["held_out"] = valid_loss.make(conditions, model)()
            chosen = {}
            if best:
                value = best_metric.value_of(best.metric, results, found)
                chosen = best.offer(step, value)
        values = {key: record["value"] for key, record in results.items()}
        log.write(step, values | scalars(measured.others))
        write_followed(folder.evaluations, step, results, measured.others)
        where = f", {_measured_on(config)}" if not splits.same_data else ""
        print(f"step {step}{where}\n{render(measured)}", flush=True)
        if measured.worth:
            print(measured.worth["sentence"], flush=True)
        document = _write_results(merged, conditions, measured, step, chosen, others)
        if best is None or chosen.get("step") == step:
            _export_classifier(merged, splits, model, measured, step)
        if config.evaluation.report:
            _report(config, splits, model, measured, document)
    log.close()
    return document


def _with_held_out(merged: Merged, splits: Splits) -> Splits:
    """Add the images that the run holds out, if the best is chosen on them."""
    same = merged.config.data.train_split == merged.trained.data.train_split
    chosen_on = merged.config.evaluation.best_metric == VALID_LOSS
    if not (chosen_on and merged.same_data and same):
        return splits
    _, held = divided(merged.trained.data, splits.train)
    return dataclasses.replace(splits, held=held)


def _complete_own(
    measured: Measured, splits: Splits, folder: RunFolder, step: int
) -> None:
    """Say of a fine-tuned run how its training ended."""
    own = [r for r in measured.results.values() if r["row"] == FINETUNED_ROW]
    classes = splits.train.num_classes
    chance.complete(own, folder.path, step=step, classes=classes)


def _open(merged: Merged) -> Splits:
    """Open the splits, strictly checked if the command line asked for protocols.

    Protocols of the run's own flags.txt on its own images are not checked strictly:
    pretraining skipped them too.
    """
    config = merged.config
    same = config.evaluation.protocols == merged.trained.evaluation.protocols
    strict = "protocols" in merged.asked and not (merged.same_data and same)
    splits = open_splits(config, strict=strict, refuse_shared=True)
    if not merged.same_data:
        return dataclasses.replace(splits, same_data=False, score_classifier=False)
    splits = with_own_classifier(config, splits)
    seen = _seen_by_the_classifier(merged.trained, splits)
    if seen and not config.evaluation.protocols:
        raise ConfigError(
            f"the run's classifier was trained on {seen} of the images of "
            f"--eval_split={config.evaluation.eval_split}; name another split"
        )
    if seen:
        logger.warning(
            "the run's classifier is not scored: it was trained on %d of the images of "
            "--eval_split=%s",
            seen,
            config.evaluation.eval_split,
        )
    return dataclasses.replace(splits, score_classifier=not seen)


def _seen_by_the_classifier(trained: Config, splits: Splits) -> int:
    """Count the evaluation images that a classifier of the run was trained on."""
    if splits.eval is None:
        return 0
    try:
        train = labelled_part(
            trained.data,
            open_split(trained.data, trained.evaluation, trained.data.train_split),
        )
    except ConfigError:  # no longer there
        return 0
    return overlap.shared_images(train, splits.eval) if train.has_labels else 0


def _measured_on(config: Config) -> str:
    return f"measured on {config.data.source}"


def _other_runs(conditions: Conditions) -> list[OtherRun]:
    """Read the runs that ``--compare_with`` names, before anything is measured."""
    asked = conditions.evaluation
    if not asked.compare_with:
        return []
    keys = predicted(conditions)
    without_labels = measures_without_labels(conditions)
    assert conditions.folder is not None
    if not checkpoints.list_checkpoints(conditions.folder):  # encoder.keras alone
        of_encoder = on_features(asked.protocols)
        keys = [key for key in keys if key.split("/")[-1] in of_encoder]
        without_labels = False
    if not keys and not without_labels:
        raise ConfigError(
            f"--compare_with={','.join(asked.compare_with)} compares predictions, and "
            "none of the --protocols keeps any; add one such as knn or logreg, or "
            "label_free"
        )
    return [
        _other_run(conditions, run, keys, without_labels) for run in asked.compare_with
    ]


def _other_run(
    conditions: Conditions, run: str, keys: list[str], without_labels: bool
) -> OtherRun:
    """Read one other run; without labels only if it was also measured without them."""
    name = conditions.evaluation.eval_name
    predictions = unlabelled = None
    if keys:
        predictions = kept_predictions.load(run, name=name)
        comparison.check(predictions, keys, tested_images(conditions))
    if without_labels:
        try:
            unlabelled = label_free_comparison.load(run, name=name)
            label_free_comparison.check(unlabelled, label_free_images(conditions))
        except ConfigError as error:
            if not keys:
                raise
            logger.warning("not compared without labels: %s", error)
            unlabelled = None
    return OtherRun(run, predictions, unlabelled)


def _require_same_images_as_before(merged: Merged) -> None:
    """Raise if another data set already has results under this automatic name."""
    path, source = run_folder.of(merged.config).results, merged.config.data.source
    if merged.same_data or "eval_name" in merged.asked:
        return
    before = results_file.read(path).get("dataset", source)
    if before != source:
        raise ConfigError(
            f"{path} is about {before}, and this is about {source}; pass an "
            "--eval_name of its own"
        )


def _measure_export(
    merged: Merged, conditions: Conditions, others: Sequence[OtherRun]
) -> dict[str, Any]:
    """Measure encoder.keras of a folder that keeps no checkpoint."""
    config = merged.config
    assert config.model_dir is not None
    folder = addresses.local(config.model_dir)
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
    if config.evaluation.classifier_from:
        logger.warning(
            "--classifier_from=%s has no effect: %s holds no checkpoint",
            config.evaluation.classifier_from,
            folder,
        )
    left_out = set(config.evaluation.protocols) - set(
        on_features(config.evaluation.protocols)
    )
    if left_out:
        logger.warning(
            "%s contains an exported encoder but no checkpoint; skipping protocols "
            "that need the full network: %s",
            folder,
            ", ".join(sorted(left_out)),
        )
    measured = with_worth(measure(conditions, encoder), merged.trained.data)
    title = "" if merged.same_data else f"{_measured_on(config)}\n"
    print(f"{title}{evaluation.render(measured.results)}", flush=True)
    return _write_results(merged, conditions, measured, None, {}, others)


def _write_results(
    merged: Merged,
    conditions: Conditions,
    measured: Measured,
    step: int | None,
    best: dict[str, Any],
    others: Sequence[OtherRun] = (),
) -> dict[str, Any]:
    """Write results.json (or results_NAME.json); a finished run stays finished.

    Args:
        merged: Settings of the evaluation.
        conditions: Images, settings and devices.
        measured: What was found.
        step: Step of the weights, None for a bare encoder.
        best: What ``--best_metric`` chose; empty without it.
        others: Runs to compare with.
    """
    config = merged.config
    folder = run_folder.of(config)
    before = results_file.read(folder.results)
    same = before.get("step") == step or step is None
    document = results_file.make_document(
        provenance(config.data, seed=config.seed, strategy=conditions.strategy),
        measured.results,
        measured.others,
        step=step,
        weights=measured.weights,
        facts={
            "trained_on": "" if merged.same_data else merged.trained.data.source,
            **facts_of_splits(conditions.images),
            "best": best,
            "worth": measured.worth,
        },
        history=run_history.starts(folder),
        timings=before.get("timings") if same else None,
        finished=bool(before.get("finished")) and same,
    )
    keep_predictions(conditions, folder, measured)
    try:  # keep hours of measurements even if the comparison fails
        if others:
            document |= _compared(config, measured, others)
            print(other_runs.render(document), flush=True)
    finally:
        results_file.write(folder.results, document)
    logger.info("%s: all results, with settings and intervals", folder.results)
    return document


def _export_classifier(
    merged: Merged, splits: Splits, model: models.SimCLR, measured: Measured, step: int
) -> None:
    """Export the classifier of ``--classifier_from``, if there is one."""
    config = merged.config
    encoder = models.build_encoder(model.backbone)
    classifier = classifiers.of_protocol(config, splits, encoder, measured)
    if classifier is None:
        return
    exported = Exported(
        model=model,
        image_size=config.data.image_size,
        step=step,
        keep=config.export.keep_hub_module_max,
        classifier=classifier,
    )
    for path, text in write_classifier(exported, run_folder.of(config)):
        print(f"{path}: {text}", flush=True)


def _compared(
    config: Config, measured: Measured, others: Sequence[OtherRun]
) -> dict[str, Any]:
    return other_runs.compare(
        str(config.model_dir),
        others,
        predictions=measured.predictions,
        labels=measured.labels,
        label_free=measured.others.get("label_free"),
        neighbours=measured.neighbours,
    )


def _is_complete(folder: RunFolder) -> bool:
    """Return whether a folder is complete: a kept best, or an encoder without a run."""
    alone = folder.encoder.exists() and not checkpoints.list_checkpoints(folder)
    return best_checkpoint.is_kept(folder) or alone


def _is_growing(folder: RunFolder, total_steps: int) -> bool:
    found = checkpoints.list_checkpoints(folder)
    return not found or found[0][0] < total_steps


def _require_anything(measured: Measured) -> None:
    if not measured.results and not measured.others:
        raise ConfigError(
            "--mode=eval has nothing to measure: --protocols is empty, or skipped for "
            "want of labels, and the run has no classifier (which is scored on its own "
            "data set only)"
        )


def _require_trained(folder: RunFolder, step: int) -> None:
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
    """Write report.html, or report_NAME.html, with the newest measurements."""
    folder = run_folder.of(config)
    run_report.write(
        config,
        splits,
        models.build_encoder(model.backbone),
        measured,
        folder.path,
        files=run_report.files_there(folder),
        timings=document.get("timings", {}),
        comparison=other_runs.render(document),
    )
