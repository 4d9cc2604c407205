"""Write report.html: one file that shows a run, readable offline."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from simclr_tf2 import plots
from simclr_tf2.files import replacing, writing
from simclr_tf2.report import facts, pictures, sections, verdict

_LOG = logging.getLogger(__name__)
_HERE = Path(__file__).parent


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    chance_loss: float | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    tables: Sequence[Mapping[str, Any]] = (),
    pairs: tuple[Any, Any, Any] | None = None,
    pair_notes: Sequence[tuple[str, str]] = (),
    test_images: Any | None = None,
    test_features: Any | None = None,
    bank_images: Any | None = None,
    bank_features: Any | None = None,
    bank_labels: Any | None = None,
    test_labels: Any | None = None,
    images_are: str = "test images",
    class_names: Sequence[str] = (),
    chance: float | None = None,
    no_accuracy: str = "",
    confusion: Any | None = None,
    confusion_of: str = "",
    timings: Mapping[str, float] | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[tuple[Any, str]] = (),
    notice: str = "",
    supervised: bool = False,
) -> Path:
    """Write a self-contained HTML page about one run, replacing ``path`` at once.

    A section without data is left out, also of the contents; results say why there
    are none. The page loads nothing from a network and runs no script.

    Args:
        path: where to write; the folder is made.
        title: heading, e.g. the name of the run.
        config: section -> setting -> value, as used.
        defaults: the same for the defaults; differences are highlighted.
        history: lines of metrics.jsonl: ``step`` and scalars, of any mix.
        chance_loss: ln(2N - 1), drawn into the loss curve.
        results: rows of the result table: ``row`` and accuracies in [0, 1]. The
            first row is the run's own.
        tables: more results: ``title``, ``about`` and either ``heads`` and ``rows`` of
            texts, the first of each row its name, or ``text``, shown as it is. With
            ``words`` the last column is prose.
        pairs: (originals, view 1, view 2), each [k, s, s, 3] in [0, 1] or uint8.
        pair_notes: what was drawn for view 1 and view 2 of each of them.
        test_images: [m, s, s, 3] uint8 or float in [0, 1].
        test_features: [m, d] representations h of the test images.
        bank_images: [n, s, s, 3] images in which neighbours are searched.
        bank_features: [n, d].
        bank_labels: [n] integers, -1 for none.
        test_labels: [m] integers, -1 for none.
        images_are: what ``test_images`` are, in words of the page.
        class_names: names of the classes.
        chance: share of the commonest class of the test images; by default the
            accuracies stand beside 1 / classes.
        no_accuracy: why there are no ``results``, a sentence.
        confusion: [c, c] counts, row = true class.
        confusion_of: whose predictions they count.
        timings: phase -> seconds.
        environment: name -> version, device and so on.
        files: (path, description) of what the run wrote.
        notice: shown on top, e.g. that the run was interrupted.
        supervised: whether the views are those of a classifier's training.

    Returns:
        ``path``.
    """
    scalars = plots.series(history)
    guess: sections.Guess | None = None
    if chance:
        guess = (chance, "commonest class")
    elif len(class_names) > 1:
        guess = (1 / len(class_names), "chance")
    values: dict[str, Any] = {
        "title": title,
        "notice": notice,
        "supervised": supervised,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "verdict": verdict.verdict(results, scalars, config, chance_loss),
        "tiles": verdict.tiles(scalars, results, timings, chance_loss),
        "checks": verdict.checks(scalars, results, config, chance_loss),
        "results": sections.result_table(results, guess),
        "no_accuracy": no_accuracy or "The run was not evaluated.",
        "images_are": images_are,
        "tables": list(tables),
        "curves": sections.curve_figures(
            history, chance_loss, guess, len(class_names)
        ),
        "pairs": pictures.pair_columns(pairs, pair_notes),
        "neighbours": pictures.neighbour_rows(
            test_images, test_features, bank_images, bank_features,
            test_labels, bank_labels, class_names),
        "map": pictures.maps(test_features, test_labels, class_names),
        "confusion": sections.confusion_figure(confusion, class_names),
        "confusion_of": confusion_of,
        "config": facts.config_tables(config, defaults),
        "command": facts.command(config, defaults),
        "timings": facts.timing_rows(timings),
        "environment": dict(environment or {}),
        "files": [(os.fspath(p), text) for p, text in files],
        "snippets": facts.loading_snippets(files, config),
    }  # fmt: skip
    values["contents"] = _contents(values)
    target = Path(path)
    _replace(target, _render(values))
    for good, text in values["checks"]:
        if not good:
            _LOG.warning("check of the run: %s", text)
    _LOG.info("wrote %s (%.2f MB)", target, target.stat().st_size / 1e6)
    return target


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
