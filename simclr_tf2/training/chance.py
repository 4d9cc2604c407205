"""The end of a classifier's training: its last loss compared with chance."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simclr_tf2.runs import logs

logger = logging.getLogger(__name__)

ADVICE = (
    "the classifier learns nothing. Lower --learning_rate (with --protocols=semi: "
    "--semi_batch_size) or train longer"
)
LAST_PART = 0.1  # [ours] of the steps, over which the loss is averaged


def last_loss(lines: list[dict[str, float]], *, step: int) -> float | None:
    """Return the mean training loss of the last tenth of the steps, or a little more.

    Args:
        lines: Of metrics.jsonl, in order; each ``loss`` is a mean since the line before
            that has one.
        step: The last one of the run.

    Returns:
        None if no line reaches the last step.
    """
    logged = [line for line in lines if "loss" in line and line["step"] <= step]
    if not logged or logged[-1]["step"] != step:
        return None
    begin = step - math.ceil(LAST_PART * step)
    before = [0, *(line["step"] for line in logged)]
    parts = [
        (line["step"] - since, line["loss"])
        for since, line in zip(before, logged, strict=False)
        if line["step"] > begin
    ]
    return math.fsum(n * loss for n, loss in parts) / math.fsum(n for n, _ in parts)


def facts(folder: Path, *, step: int, classes: int | None) -> dict[str, Any]:
    """Return a record's facts about the end of its training; empty if unknown.

    Args:
        folder: The run folder, whose log is read.
        step: The last one of the run.
        classes: Guessing among these has a loss of ln(classes).

    Returns:
        ``train_loss``, ``chance_loss`` and ``no_better_than_chance``.
    """
    loss = last_loss(logs.read_metrics(folder), step=step)
    if loss is None or classes is None:
        return {}
    chance = math.log(classes)
    return {
        "train_loss": loss,
        "chance_loss": chance,
        "no_better_than_chance": not loss < chance,
    }


def complete(
    records: Iterable[dict[str, Any]],
    folder: Path,
    *,
    step: int,
    classes: int | None,
    quiet: bool = False,
) -> None:
    """Add ``facts`` to records of a trained classifier, and warn.

    Args:
        records: Of the table; changed.
        folder: The run folder, whose log is read.
        step: The last one of the run.
        classes: Guessing among these has a loss of ln(classes).
        quiet: Whether the user was warned before.
    """
    found = facts(folder, step=step, classes=classes)
    for record in records:
        record.update(found)
        if not quiet:
            warn(record["row"], found)


def warn(name: str, found: dict[str, Any]) -> None:
    """Warn once if training ended no better than guessing."""
    if found.get("no_better_than_chance"):
        logger.warning(
            "%s: the training loss ended at %.3f, no better than guessing (ln(classes)"
            " = %.3f): %s",
            name,
            found["train_loss"],
            found["chance_loss"],
            ADVICE,
        )
