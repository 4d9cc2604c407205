"""Write report.html: one file that shows a run, readable offline."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from simclr_tf2 import plots
from simclr_tf2.files import replacing, writing
from simclr_tf2.report import facts, pictures, sections, verdict
from simclr_tf2.report.contents import ReportData

_LOG = logging.getLogger(__name__)
_HERE = Path(__file__).parent


def write_report(path: str | os.PathLike[str], data: ReportData) -> Path:
    """Write a self-contained HTML page about one run, replacing ``path`` at once.

    A section without data is left out, also of the contents; results say why there
    are none. The page loads nothing from a network and runs no script.

    Args:
        path: Where to write; the folder is made.
        data: What the page shows.

    Returns:
        ``path``.
    """
    values = _values(data)
    target = Path(path)
    _replace(target, _render(values))
    for good, text in values["checks"]:
        if not good:
            _LOG.warning("check of the run: %s", text)
    _LOG.info("wrote %s (%.2f MB)", target, target.stat().st_size / 1e6)
    return target


def _values(data: ReportData) -> dict[str, Any]:
    """Return what template.html asks for, by name."""
    scalars = plots.series(data.history)
    results, chance_loss = data.results.rows, data.chance_loss
    classes = data.class_names
    values: dict[str, Any] = {
        "title": data.title,
        "notice": data.notice,
        "supervised": data.supervised,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "verdict": verdict.verdict(results, scalars, data.config, chance_loss),
        "tiles": verdict.tiles(scalars, results, data.timings, chance_loss),
        "checks": [
            *verdict.checks(scalars, data.config, chance_loss),
            *verdict.check_worth(data.results.worth, results),
        ],
        "results": sections.result_table(results, data.guess),
        "no_accuracy": data.results.missing or "The run was not evaluated.",
        "images_are": data.images_are,
        "tables": list(data.results.tables),
        "curves": sections.curve_figures(
            data.history, chance_loss, data.guess, len(classes)
        ),
        "pairs": pictures.pair_columns(data.views),
        "neighbours": pictures.neighbour_rows(data.test, data.bank, classes),
        "map": pictures.maps(data.test, classes),
        "confusion": sections.confusion_figure(data.confusion, classes),
        "confusion_of": data.confusion.title if data.confusion else "",
        "config": facts.config_tables(data.config, data.defaults),
        "command": facts.command(data.config, data.defaults),
        "timings": facts.timing_rows(data.timings),
        "environment": dict(data.environment or {}),
        "files": [(os.fspath(path), text) for path, text in data.files],
        "snippets": facts.loading_snippets(data.files, data.config),
    }
    return {**values, "contents": _contents(values)}


def _contents(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (id, name) of each section that has something to show."""
    shown = {
        "Results": True,
        "Training": values["curves"],
        "Views": values["pairs"],
        "Neighbours": values["neighbours"],
        "Map": values["map"],
        "Confusion": values["confusion"],
        "Settings": values["config"],
        "Files": values["files"],
        "Environment": values["timings"] or values["environment"],
    }
    return [(name.lower(), name) for name, there in shown.items() if there]


def _render(values: Mapping[str, Any]) -> str:
    """Fill template.html; everything but our own SVG is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(values)


def _replace(target: Path, text: str) -> None:
    """Write the page, whole or not at all: nobody sees half of it."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
