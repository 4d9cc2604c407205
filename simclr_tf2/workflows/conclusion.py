"""The end of a training run: measure, export, report. Each part can be repeated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simclr_tf2 import addresses, models, stopping
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.distribution import Workers
from simclr_tf2.errors import RunFailed
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.kept_results import (
    facts_of_splits,
    keep_predictions,
    with_worth,
)
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.provenance import provenance
from simclr_tf2.evaluation.runner import measure_model, render
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.exports import model_card
from simclr_tf2.exports.formats import write_exports
from simclr_tf2.report import run_report
from simclr_tf2.results import document
from simclr_tf2.results.curve import write_followed
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.timing import timed
from simclr_tf2.workflows import classifiers

logger = logging.getLogger(__name__)


def show_finished(config: Config, found: dict[str, Any]) -> None:
    """Print what a finished run has measured, from its results.json."""
    logger.info(
        "%s is finished at step %s: these are its results; images are not read again "
        "(--mode=eval measures anew)",
        config.model_dir,
        found["step"],
    )
    others = document.other_protocols(found)
    tables = render(Measured(found["results"], others=others))
    print(tables or "nothing was measured: --protocols was empty", flush=True)
    if "worth" in found:
        print(found["worth"]["sentence"], flush=True)


def finished_together(
    team: Workers, config: Config, check: Callable[[Config], Config]
) -> tuple[Config, dict[str, Any] | None]:
    """Check the run folder; show the results if the run is finished.

    Args:
        team: The workers; worker 0 decides whether the run is finished.
        config: Whole config.
        check: Returns the config with the choices of an earlier start, or refuses it.

    Returns:
        The checked config, and what results.json holds if the run is finished, which
        is empty on other workers than 0; else None.
    """
    config = team.together(lambda: check(config))
    done = run_folder.completed_results(config) if team.is_chief else None
    if not team.of_chief(done is not None):
        return config, None
    if done is not None:
        show_finished(config, done)
    return config, done or {}


def by_chief(
    team: Workers, step: int, conclude_run: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Let worker 0 use the trained model while the others wait.

    They wait so that all workers end together: if worker 0 is lost meanwhile, all are
    started again.

    Args:
        team: The workers.
        step: Step of the weights.
        conclude_run: Measures, exports and writes the results.

    Returns:
        What results.json holds; empty on other workers.
    """
    if not team.is_chief:
        stopping.saved(f"step {step} is saved; the same command goes on from there")
        logger.info("training is done; worker 0 evaluates and writes the results")
    done: list[dict[str, Any]] = []
    try:
        team.by_chief(lambda: done.append(conclude_run()))
    except RunFailed as error:
        if not done:
            raise
        logger.warning("the results are complete, but %s", error)
    return done[0] if done else {}


def evaluate_and_conclude(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    folder: RunFolder,
    *,
    step: int,
    timings: dict[str, float],
) -> dict[str, Any]:
    """Measure the trained model, then conclude the run.

    Returns:
        What results.json holds.
    """
    stopping.saved(
        f"step {step} is saved; the same command goes on with the evaluation"
    )
    exported = models.export_copy(model)
    with timed(timings, "evaluation"):
        conditions = Conditions.of(config, splits)
        measured = measure_model(conditions, exported, keep=folder.path)
    write_followed(folder.evaluations, step, measured.results, measured.others)
    return conclude(
        config, splits, exported, measured, folder, step=step, timings=timings
    )


def conclude(
    config: Config,
    splits: Splits,
    exported: models.SimCLR,
    measured: Measured,
    folder: RunFolder,
    *,
    step: int,
    timings: dict[str, float],
) -> dict[str, Any]:
    """Export, report, and write results.json last: then the run is finished.

    Args:
        config: Whole config.
        splits: Opened splits.
        exported: The model in export form.
        measured: What was found.
        folder: The run folder.
        step: Step of the weights.
        timings: Seconds per phase; grows here.

    Returns:
        What results.json holds.
    """
    conditions = Conditions.of(config, splits)
    keep_predictions(conditions, folder, measured)
    if config.workflow == "pretrain":
        measured = with_worth(measured, config.data)
    with timed(timings, "export"):
        files = write_exports(
            config.export,
            exported,
            folder.without_name(),
            image_size=config.data.image_size,
            step=step,
            classifier=classifiers.of_run(config, splits, exported, measured),
        )
    exports = list(files)
    if config.evaluation.report:
        with timed(timings, "report"):
            path = run_report.write(
                config,
                splits,
                models.build_encoder(exported.backbone),
                measured,
                folder.path,
                files=files,
                timings=timings,
            )
        files.append((path, "open in a browser"))
    found = document.make_document(
        provenance(config.data, seed=config.seed, strategy=conditions.strategy),
        measured.results,
        measured.others,
        step=step,
        weights=measured.weights or feature_cache.digest_of_weights(exported),
        facts=facts_of_splits(splits) | {"worth": measured.worth},
        history=run_history.starts(folder),
        timings=timings,
        finished=True,
    )
    if exports:
        training = model_card.training_of(
            config.data.source,
            config_lib.to_flat(config),
            run_history.starts(folder),
            found["results"],
        )
        card = model_card.write_card(
            folder.without_name(),
            exported,
            exports,
            training,
            image_size=config.data.image_size,
            step=step,
        )
        files.append((card, "what the exported network is and how to load it"))
    path = folder.without_name().results
    document.write(path, found)
    if folder.name:
        document.write(folder.results, found)
    files.append((path, "all results, with settings and intervals"))
    _summary(measured, files, timings)
    return found


def _summary(
    measured: Measured,
    files: list[tuple[Path, str]],
    timings: dict[str, float],
) -> None:
    """Print the closing text of a run: table, files, seconds per phase."""
    lines = [""]
    tables = render(measured)
    if tables:
        lines += [tables, ""]
    if measured.worth:
        lines += [measured.worth["sentence"], ""]
    shown = [(addresses.shown(path), text) for path, text in files]
    width = max(len(path) for path, _ in shown)
    lines += [f"{path:<{width}}  {text}" for path, text in shown]
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in timings.items())
    lines += ["", f"took {sum(timings.values()):.0f} s: {phases}"]
    print("\n".join(lines), flush=True)
