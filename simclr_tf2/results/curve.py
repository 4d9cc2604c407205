"""evaluations.jsonl: one line for each checkpoint that was measured."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simclr_tf2 import files
from simclr_tf2.protocols import PROTOCOLS, load, records_of

logger = logging.getLogger(__name__)


def write_followed(
    path: Path,
    step: int,
    results: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any] | None = None,
) -> None:
    """Append what was measured of a checkpoint to evaluations.jsonl.

    Args:
        path: The file, ``RunFolder.evaluations``; each ``--eval_name`` has its own.
        step: Of the checkpoint.
        results: "row/protocol" -> record with ``value`` and ``measure``. Baselines do
            not move and are left out.
        others: What is no row of the table, by protocol.
    """
    line: dict[str, Any] = {"step": step}
    for record in results.values():
        if "weights" in record:
            row = record["row"].removeprefix("SimCLR").strip()
            depth = f"{row}_" if row.startswith("feature") else ""
            key = f"evaluated_{depth}{record['protocol']}_{record['measure']}"
            line[key] = record["value"]
    for tag, value in scalars(others or {}).items():
        is_share = not tag.startswith("label_free/")  # of images that are right
        words = re.sub(r"\W+", "_", tag).strip("_")
        line[f"evaluated_{words}" if is_share else words] = value
    if len(line) > 1:
        with files.writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def scalars(others: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that are in no row of the table, with tags for TensorBoard.

    Args:
        others: As ``Measured.others``: protocol -> record, or -> name -> record with
            ``value``.

    Returns:
        ``label_free/h/rankme``, ``transfer/cifar10/linear``, ``semi/SHARE`` and the
        like -> value; what was not measured is left out.
    """
    found: dict[str, float] = {}
    for name, protocol in PROTOCOLS.items():
        records = records_of(name, others)
        if records:
            found |= load(protocol.scalars)(records)
    return found


def read_followed(path: Path) -> list[dict[str, float]]:
    """Read every whole line of evaluations.jsonl; the last one of a step counts."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    lines = []
    for part in text.splitlines():
        try:
            lines.append(json.loads(part))
        except json.JSONDecodeError:
            logger.warning("%s has a damaged line, left out", path)
    return lines
