"""Result table, curves and confusion matrix of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf2 import plots
from simclr_tf2.report.contents import Confusion
from simclr_tf2.report.facts import value_text
from simclr_tf2.report.pictures import inline_svg

Rows = Sequence[Mapping[str, Any]]
Guess = tuple[float, str]  # accuracy of guessing, in [0, 1], and its kind
NO_BREAK_HYPHEN = "\N{NON-BREAKING HYPHEN}"


def _result_cell(value: Any, key: str, accuracies: Sequence[str]) -> str:
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return "–"
    if key in accuracies and plots.is_number(value):
        return f"{100 * value:.1f}"
    if plots.is_number(value):
        return f"{value:,.6g}"
    return value_text(value)


def result_table(results: Rows, guess: Guess | None) -> dict[str, Any] | None:
    """Build the result table (in %, the best of a column marked) and its bars."""
    if not results:
        return None
    keys = [
        k for k in dict.fromkeys(k for r in results for k in r)
        if k != "row" and not k.endswith("_ci95")
    ]  # fmt: skip
    accuracies = plots.accuracy_keys(results)
    best = {
        k: max(r[k] for r in results if plots.is_number(r.get(k))) for k in accuracies
    }
    lines: list[dict[str, Any]] = []
    for row in results:
        cells: list[dict[str, Any]] = []
        for k in keys:
            low_high = plots.interval(row, k)
            cells.append({
                "text": _result_cell(row.get(k), k, accuracies),
                "best": k in best and len(results) > 1 and row.get(k) == best[k],
                "ci95": "{:.1f}–{:.1f}".format(*(100 * x for x in low_high))
                if low_high else "",
            })  # fmt: skip
        lines.append({"name": str(row.get("row", "")), "cells": cells})
    heads = [plots.metric_label(k).replace("-", NO_BREAK_HYPHEN) for k in keys]
    bars = None
    if accuracies:
        line: dict[str, Any] = {}
        if guess is not None:
            line = {"chance": guess[0], "chance_label": guess[1]}
        figure = plots.result_bars(results, title=None, **line)
        bars = inline_svg(figure, name="bars", label="Accuracies of the result table")
    has_ci95 = any(cell["ci95"] for line in lines for cell in line["cells"])
    return {"heads": heads, "rows": lines, "bars": bars, "has_ci95": has_ci95}


def curve_figures(
    history: Rows,
    chance_loss: float | None,
    guess: Guess | None,
    classes: int,
) -> list[dict[str, Any]]:
    """Draw one small figure per kind of scalar."""
    references = {}
    if classes > 1:
        nats = math.log(classes)
        references["classification_loss"] = (
            nats,
            f"chance, ln({classes}) = {nats:.2f}",
        )
    if guess is not None:
        value, kind = guess
        text = f"{kind}, {100 * value:.3g} %"
        panels = ("online", "evaluated", "classification")
        references |= dict.fromkeys(panels, (value, text))
    return [
        {
            "title": panel.title,
            "about": panel.about,
            "svg": inline_svg(
                plots.draw_panel(panel, data, chance_loss=chance_loss,
                                 references=references),
                name=f"curve-{panel.name}",
                label=f"{panel.title} over optimizer steps",
            ),
        }
        for panel, data in plots.panels(history)
    ]  # fmt: skip


def confusion_figure(
    confusion: Confusion | None, class_names: Sequence[str]
) -> dict | None:
    """Draw the confusion matrix as SVG, or return None where there is none."""
    if confusion is None or not np.asarray(confusion.counts).any():
        return None
    figure = plots.confusion(confusion.counts, class_names=class_names, title=None)
    svg = inline_svg(figure, name="confusion", label="Confusion matrix")
    # Narrower than this the words cannot be read: the page scrolls it instead.
    classes = len(np.asarray(confusion.counts))
    narrowest = min(120 + 26 * classes, 1000)
    return {
        "svg": svg,
        "min_width": narrowest,
        "max_width": max(narrowest, min(200 + 52 * classes, 720)),
    }
