"""Semi-supervised results as a table: a line per share of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simclr_tf2.results.table import chance_notes

PUBLISHED = (
    "paper, ImageNet, ResNet-50: top-5 75.5 % with 1 % of the labels, 87.8 % with 10 % "
    "(arXiv 2002.05709, table 7)"
)


KEY = "semi"  # of results.json


def render(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Format as a table what results.json holds of the protocol, under ``KEY``."""
    return render_semi(records[KEY])


def scalars(
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, float]:
    """Return what was measured as ``semi/SHARE`` -> value."""
    return {
        f"{KEY}/{name}": float(record["value"])
        for name, record in records[KEY].items()
        if record["value"] is not None
    }


def render_semi(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Format results as aligned plain text, in percent, top-1 with its 95 % interval.

    Args:
        results: Name of the row -> record: ``value`` (None: not measured, with
            ``not_measured``), and if measured ``ci95``, ``labels``, ``dataset`` and,
            above 5 classes, ``top5``.
    """
    rows = [["fine-tuned on", "labels", "top-1 %", "top-5 %"]]
    rows += [[name, *_cells(record)] for name, record in results.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "   ".join(
            [
                cells[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for cells in rows
    ]
    notes = chance_notes(results)
    notes += [
        f"{name} not measured: {record['not_measured']}"
        for name, record in results.items()
        if record["value"] is None
    ]
    if any("imagenet2012" in record["dataset"] for record in results.values()):
        notes.insert(0, PUBLISHED)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *notes])


def _cells(record: Mapping[str, Any]) -> list[str]:
    if record["value"] is None:
        return ["-", "-", "-"]
    low, high = (f"{100 * bound:.1f}" for bound in record["ci95"])
    top5 = f"{100 * record['top5']:.1f}" if "top5" in record else "-"
    mark = "!" if record.get("no_better_than_chance") else ""
    top1 = f"{100 * record['value']:.1f}{mark} [{low}, {high}]"
    return [f"{record['labels']:,}", top1, top5]
