"""Results: grouped bars per row of the result table, and the confusion matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simclr_tf2.plots import drawing
from simclr_tf2.protocols import OWN_CLASSIFIER, PROTOCOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NUMBERED_CLASSES = 20  # up to here the cells carry their number
MAX_NAMED_CLASSES = 60  # up to here the rows carry their class name
_TITLES = {name: p.plot_title or p.title for name, p in PROTOCOLS.items()} | {
    OWN_CLASSIFIER: "Own classifier"
}
_MEASURES = {
    "accuracy": "accuracy", "mean_per_class": "mean per class", "map": "mAP",
}  # fmt: skip
_ACCURACY = re.compile(r"(?:(.+)_)?(top\d+|accuracy|mean_per_class|map)")


def metric_label(key: str) -> str:
    """Return the label of a metric: ``logreg_top1`` -> ``Logistic regression, top-1``.

    Other keys lose their ``_``.

    The number of neighbours may stand on either side: ``knn_top1_k20``.
    """
    key = key.removeprefix("evaluated_")
    key = re.sub(r"(knn)_(.+)_k(\d+)", r"\1\3_\2", key)
    match = _ACCURACY.fullmatch(key)
    if match is None:
        return key.replace("_", " ")
    protocol, measure = match[1] or "", match[2]
    neighbours = re.fullmatch(r"knn(\d+)", protocol)
    if neighbours:
        protocol = f"{neighbours[1]}-NN"
    protocol = _TITLES.get(protocol, protocol.replace("_", " "))
    measure = _MEASURES.get(measure, re.sub(r"top(\d+)", r"top-\1", measure))
    return f"{protocol}, {measure}" if protocol else measure


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite number (a bool is none)."""
    return (
        isinstance(value, (int, float, np.number))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def accuracy_keys(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that are accuracies in [0, 1], in order of appearance."""
    keys = dict.fromkeys(k for row in results for k in row)
    return [
        k for k in keys
        if _ACCURACY.fullmatch(k) and any(is_number(row.get(k)) for row in results)
    ]  # fmt: skip


def interval(row: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """Return the confidence interval ``key``_ci95 of a row, if it has one."""
    found = row.get(f"{key}_ci95")
    if not isinstance(found, (tuple, list, np.ndarray)) or len(found) != 2:
        return None
    low, high = found
    return (float(low), float(high)) if is_number(low) and is_number(high) else None


def _draw_bars(
    axes: Axes, results: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> None:
    """Draw groups of horizontal bars, the first row on top, the value at each end."""
    height = 0.8 / len(keys)
    for j, key in enumerate(keys):
        values = [
            100 * row[key] if is_number(row.get(key)) else math.nan for row in results
        ]
        places = np.arange(len(results)) + (j - (len(keys) - 1) / 2) * height
        axes.barh(
            places,
            np.nan_to_num(values),
            height * 0.9,
            color=drawing.PALETTE[j % len(drawing.PALETTE)],
            label=drawing.plain(metric_label(key)),
        )
        for place, value, row in zip(places, values, results, strict=True):
            low, high = interval(row, key) or (math.nan, math.nan)
            axes.plot([100 * low, 100 * high], [place] * 2, color=drawing.INK, lw=1.2)
            end = max(value, 100 * high) if math.isfinite(high) else value
            if math.isfinite(value):
                axes.text(end + 0.8, place, f"{value:.1f}", va="center", fontsize=8)


def result_bars(
    results: Sequence[Mapping[str, Any]],
    *,
    chance: float | None = None,
    chance_label: str = "chance",
    title: str | None = "Accuracy on frozen features",
) -> Figure:
    """Draw the accuracies of the result table as grouped horizontal bars.

    Args:
        results: rows: ``row`` (its name) and accuracies in [0, 1], each with an
            optional ``KEY_ci95`` (low, high) drawn as a whisker; other columns, None
            and NaN are left out.
        chance: accuracy of guessing, in [0, 1]; drawn dashed.
        chance_label: what kind of guessing that is.
        title: above the bars; None for none.
    """
    keys = accuracy_keys(results)
    results = [r for r in results if any(is_number(r.get(k)) for k in keys)]
    with drawing.style():
        if not keys:
            return drawing.message(drawing.new_figure(5, 1.5), "No accuracies.")
        bars = len(results) * len(keys)
        extra = 0.9 + 0.22 * math.ceil(len(keys) / 2) + 0.12 * len(results)
        figure = drawing.new_figure(5.6, 0.2 * bars + extra)
        axes = figure.subplots()
        _draw_bars(axes, results, keys)
        if chance is not None:
            axes.axvline(
                100 * chance,
                color=drawing.INK,
                linestyle=(0, (5, 3)),
                linewidth=1.0,
                label=f"{chance_label}, {100 * chance:.3g} %",
            )
        names = [
            drawing.plain(drawing.shorten(str(r.get("row", "")), 34)) for r in results
        ]
        axes.set_yticks(range(len(results)), names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of test images classified correctly (higher is better)")
        axes.grid(axis="x")
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(
            range(len(labels)), key=lambda i: labels[i].startswith(f"{chance_label}, ")
        )
        figure.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="outside upper left",
            ncols=2,
            alignment="left",
            title=title and drawing.plain(title),
            title_fontproperties={"weight": "bold", "size": 10},
        )
        return figure


def _cell_numbers(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    size = 9 if len(counts) <= 12 else 7
    for i, j in np.argwhere(counts > 0):
        percent = 100 * share[i, j]
        axes.text(
            j,
            i,
            f"{percent:.0f}" if percent > 0.5 else "·",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if share[i, j] > 0.55 else drawing.INK,
        )


def _name_ticks(axes: Axes, classes: int, class_names: Sequence[str]) -> None:
    if classes <= MAX_NAMED_CLASSES:
        names = [
            drawing.plain(drawing.shorten(drawing.class_label(i, class_names), 22))
            for i in range(classes)
        ]
        size = 8.5 if classes <= MAX_NUMBERED_CLASSES else 6
        axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
    axes.tick_params(length=0)


def confusion(
    matrix: Any,
    *,
    class_names: Sequence[str] = (),
    title: str | None = "Confusion matrix",
) -> Figure:
    """Draw which class is taken for which, each row in per cent of its true class.

    Args:
        matrix: [c, c] counts, row = true class, column = predicted class.
        class_names: c names; missing ones are numbered.
        title: above the matrix; None for none.
    """
    from matplotlib.colors import to_rgb

    counts = np.nan_to_num(np.asarray(matrix, np.float64))
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not len(counts):
        raise ValueError(f"confusion must be [c, c]. Received: shape {counts.shape}.")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    classes = len(counts)
    # Blue with the share as opacity: the same picture serves light and dark pages.
    cells = np.empty((classes, classes, 4))
    cells[..., :3] = to_rgb(drawing.PALETTE[0])
    cells[..., 3] = np.clip(share, 0.0, 1.0)
    side = min(3.0 + 0.3 * classes, 8.5)
    with drawing.style():
        figure = drawing.new_figure(side, side)
        axes = figure.subplots()
        axes.imshow(cells, interpolation="nearest")
        if classes <= MAX_NUMBERED_CLASSES:
            _cell_numbers(axes, counts, share)
        _name_ticks(axes, classes, class_names)
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(drawing.GRID)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if title:
            axes.set_title(f"{drawing.plain(title)} (% of the true class)")
        return figure
