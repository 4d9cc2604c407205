"""What follows the last step: measure, export, report. Each part is redone safely."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, stopping
from simclr_tf2.config import Config
from simclr_tf2.evaluation import feature_cache
from simclr_tf2.training import run_folder, run_history
from simclr_tf2.workflows import reporting
from simclr_tf2.workflows.eval_files import facts_of_splits, keep_predictions
from simclr_tf2.workflows.export import write_exports
from simclr_tf2.workflows.following import write_followed
from simclr_tf2.workflows.measuring import (
    Measured,
    measure_model,
    render,
    results_document,
)
from simclr_tf2.workflows.splits import Splits

logger = logging.getLogger(__name__)


def finished(config: Config) -> dict[str, Any] | None:
    """Results of the run if it was finished under this very config, else None."""
    assert config.model_dir is not None
    folder = Path(config.model_dir)
    if not (folder / "results.json").exists():
        return None
    try:
        document = json.loads((folder / "results.json").read_text())
        before = run_folder.read_config(folder)
        same = config_lib.to_flat(before) == (
            config_lib.to_flat(run_folder.settled(config, before))
        )
    except (ValueError, OSError):
        return None
    return document if same and document.get("finished") else None


def show_finished(config: Config, document: dict[str, Any]) -> None:
    """Print what a finished run has measured, from its results.json."""
    logger.info(
        "%s is finished at step %s: these are its results; images are not read again "
        "(--mode=eval measures anew)",
        config.model_dir,
        document["step"],
    )
    others = {
        name: value
        for name, value in document.items()
        if name in ("label_free", "semi") or name.startswith("transfer")
    }
    tables = render(Measured(document["results"], others=others))
    print(tables or "nothing was measured: --protocols was empty", flush=True)


def finish(
    config: Config,
    splits: Splits,
    model: models.SimCLR,
    folder: Path,
    *,
    step: int,
    timings: dict[str, float],
) -> dict[str, Any]:
    """Measure, export and report the trained model; results.json comes last.

    Returns:
        What results.json holds.
    """
    stopping.saved(
        f"step {step} is saved; the same command goes on with the evaluation"
    )
    exported = models.export_copy(model)
    encoder = models.build_encoder(exported.backbone)
    with timed(timings, "evaluation"):
        measured = measure_model(config, splits, exported, keep=folder)
    keep_predictions(config, folder, measured, splits)
    name = config.evaluation.eval_name
    write_followed(folder, name, step, measured.results, measured.others)

    def report(files: list[tuple[Path, str]]) -> Path:
        return reporting.write(
            config, splits, encoder, measured, folder, files=files, timings=timings
        )

    return conclude(
        config,
        exported,
        measured,
        folder,
        step=step,
        timings=timings,
        report=report if config.evaluation.report else None,
        facts=facts_of_splits(splits),
    )


def conclude(
    config: Config,
    exported: models.SimCLR,
    measured: Measured,
    folder: Path,
    *,
    step: int,
    timings: dict[str, float],
    report: Callable[[list[tuple[Path, str]]], Path] | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Export, report, and write results.json last: then the run is finished.

    Args:
        config: Whole config.
        exported: The model in export form.
        measured: What was found.
        folder: The run folder.
        step: Step of the weights.
        timings: Seconds per phase; grows here.
        report: Writes the report from the list of files so far, or None.
        facts: More for results.json.

    Returns:
        What results.json holds.
    """
    with timed(timings, "export"):
        files = write_exports(config, exported, folder, step=step)
    if report is not None:
        with timed(timings, "report"):
            path = report(files)
        files.append((path, "open in a browser"))
    weights = measured.weights or feature_cache.digest_of_weights(exported)
    document = results_document(config, measured.results, step=step, weights=weights)
    document |= (facts or {}) | measured.others
    changes = run_history.starts(folder)
    if len(changes) > 1:  # another length or other images, from a step on
        document["history"] = changes
    document |= {"timings": timings, "finished": True}
    run_folder.write_json(folder / "results.json", document)
    if config.evaluation.eval_name:
        run_folder.write_json(
            folder / f"results_{config.evaluation.eval_name}.json", document
        )
    files.append(
        (
            folder / "results.json",
            "all results, with settings and intervals",
        )
    )
    _summary(measured, files, timings)
    return document


def _summary(
    measured: Measured,
    files: list[tuple[Path, str]],
    timings: dict[str, float],
) -> None:
    """The last words of a run: table, files, seconds per phase."""
    lines = [""]
    tables = render(measured)
    if tables:
        lines += [tables, ""]
    width = max(len(str(path)) for path, _ in files)
    lines += [f"{str(path):<{width}}  {text}" for path, text in files]
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in timings.items())
    lines += ["", f"took {sum(timings.values()):.0f} s: {phases}"]
    print("\n".join(lines), flush=True)


class timed:
    """Add the seconds of a block to ``timings[name]``."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name = timings, name

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._timings[self._name] = time.perf_counter() - self._since
