"""results.json: its schema, its one writer and its one reader (docs/results.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simclr_tf2 import files
from simclr_tf2.protocols import PROTOCOLS, records_of

SCHEMA = 1  # raised when a key changes its meaning or goes; new keys do not raise it


def make_document(
    provenance: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any] | None = None,
    *,
    step: int | None,
    weights: str = "",
    facts: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    timings: Mapping[str, float] | None = None,
    finished: bool = False,
) -> dict[str, Any]:
    """Put together what results.json holds: every value with what it rests on.

    Args:
        provenance: As ``evaluation.provenance`` describes it.
        results: "row/protocol" -> record, the rows of the table.
        others: Protocol -> records that are no row of the table.
        step: Step of the checkpoint, None for an encoder without one.
        weights: Digest of the measured network.
        facts: More about this evaluation: ``trained_on``, ``images_in_both_splits``,
            ``best``, ``comparison``; what is empty is left out.
        history: Starts of a run that changed its length or images.
        timings: Seconds by phase.
        finished: Whether the run has ended.
    """
    made = dict(provenance)
    environment = made.pop("environment")
    document = {
        "schema": SCHEMA,
        "dataset": made.pop("dataset"),
        "step": step,
        "checkpoint": {"step": step, "weights": weights},
        **made,
        "results": dict(results),
        "environment": environment,
        **{key: value for key, value in (facts or {}).items() if value},
        **(others or {}),
    }
    if len(history) > 1:
        document["history"] = list(history)
    if timings is not None:
        document["timings"] = dict(timings)
    if finished:
        document["finished"] = True
    return document


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document (``RunFolder.results``), the whole file or nothing."""
    files.write_json(path, document)


def read(path: Path) -> dict[str, Any]:
    """Read a document; empty where there is none that can be read."""
    try:
        return read_strictly(path)
    except (OSError, ValueError):
        return {}


def read_strictly(path: Path) -> dict[str, Any]:
    """Read a document that must be there.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: It is damaged.
    """
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    return found


def other_protocols(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the records of a document that are no row of its table, by protocol."""
    found: dict[str, Any] = {}
    for name in PROTOCOLS:
        found |= records_of(name, document)
    return found
