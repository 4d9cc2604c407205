"""Curves over steps, from the lines of metrics.jsonl."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simclr_tf2.plots import drawing
from simclr_tf2.plots.scores import metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 400  # more are averaged in equal bins, with a band from min to max
References = Mapping[str, tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: which scalars share it and how they are read."""

    name: str
    title: str
    unit: str
    keys: str  # a regular expression that a whole key matches
    about: str = ""
    percent: bool = False
    from_zero: bool = True


PANELS = (
    Panel(
        name="loss", title="Contrastive loss", unit="nats, mean over both views",
        keys="loss|contrastive_loss|contrast_loss|valid_loss",
        about="Dashed: a model that cannot tell the pair from the negatives. Held-out "
        "batches can be smaller than those of training; their chance level is then "
        "lower, see the log.",
    ),
    Panel(
        name="classification_loss", title="Loss of the classifier",
        unit="nats, mean over images", keys="classification_loss",
        about="Dashed: a classifier that gives every class the same probability.",
    ),
    Panel(
        name="classification", title="Accuracy of the classifier", unit="% of images",
        keys=r"training_accuracy|validation_(top\d|accuracy)", percent=True,
        about="Training images are cropped; validation images are not trained on.",
    ),
    Panel(
        name="contrastive_accuracy", title="Contrastive accuracy", unit="% of views",
        keys=r"(valid_)?contrastive_accuracy|contrastive_top\d", percent=True,
        about="Views whose nearest candidate in the batch is their own pair.",
    ),
    Panel(
        name="online", title="Online evaluation of h", unit="% of labelled images",
        keys=r"knn\d*_(top\d|accuracy)(_k\d+)?|supervised_(accuracy|top1)",
        percent=True, about="Watches the representation; the gradient never sees it.",
    ),
    Panel(
        name="evaluated_depths", title="Evaluated checkpoints, by depth",
        unit="% of test images", keys=r"evaluated_feature\d_.+", percent=True,
        about="A linear classifier at each of five depths.",
    ),
    Panel(
        name="evaluated", title="Evaluated checkpoints", unit="% of test images",
        keys="evaluated_.+", percent=True,
        about="The network at each measured step, as in the tables.",
    ),
    Panel(
        name="learning_rate", title="Learning rate", unit="per step",
        keys="learning_rate|lr",
    ),
    Panel(
        name="std", title="Spread of the unit vectors", unit="std per dimension",
        keys="std_z|std_h|(.*_)?(z|h)_std",
        about="Falls to 0 when all images get one vector; 1/√d when spread evenly.",
    ),
    Panel(
        name="alignment", title="Alignment", unit="squared distance of a pair",
        keys="alignment(_[zh])?|(.*_)?(z|h)_alignment",
        about="Lower: the two views of an image lie closer (arXiv 2005.10242).",
    ),
    Panel(
        name="uniformity", title="Uniformity", unit="log mean Gaussian potential",
        keys="uniformity(_[zh])?|(.*_)?(z|h)_uniformity", from_zero=False,
        about="Lower: the images cover more of the sphere (arXiv 2005.10242).",
    ),
    Panel(
        name="rankme", title="RankMe, effective rank", unit="dimensions",
        keys="rankme(_[zh])?|(.*_)?(z|h)_rankme",
        about="About how many dimensions are used (arXiv 2210.02885).",
    ),
    Panel(
        name="contrastive_entropy", title="Entropy of the contrastive softmax",
        unit="nats", keys="(valid_)?contrastive_entropy",
    ),
    Panel(
        name="images_per_second", title="Training speed", unit="images per second",
        keys="images_per_second",
    ),
)  # fmt: skip
_NOT_CURVES = {"step", "time", "timestamp", "wall_time", "seconds", "epoch"}
_LABELS = {
    "std_z": "z", "std_h": "h", "supervised_accuracy": "linear head",
    "loss": "training", "contrastive_accuracy": "training",
    "contrastive_entropy": "training", "valid_loss": "held out",
    "valid_contrastive_accuracy": "held out", "valid_contrastive_entropy": "held out",
    "training_accuracy": "training",
} | {
    f"label_free_{part}_{name}": f"{part}, measured"
    for part in "zh" for name in ("std", "alignment", "uniformity", "rankme")
}  # fmt: skip


def _number(value: Any) -> float | None:
    """Return ``value`` as a float (NaN and infinities included); None for no number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def series(history: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Collect each scalar by name as [n, 2] of (step, value), sorted by step.

    A step that was logged twice (a run that went back to a checkpoint) keeps its
    last value. Non-numbers are left out; NaN and infinities stay.
    """
    found: dict[str, dict[float, float]] = {}
    for line in history:
        step = _number(line.get("step"))
        if step is None or not math.isfinite(step):
            continue
        for key, raw in line.items():
            value = _number(raw)
            if value is not None and key not in _NOT_CURVES:
                found.setdefault(str(key), {})[step] = value
    return {k: np.array(sorted(v.items()), np.float64) for k, v in found.items()}


def panels(history: Iterable[Mapping[str, Any]]) -> list[tuple[Panel, dict]]:
    """Return the panels with data, each with its scalars; unknown scalars come last."""
    rest = series(history)
    rest = {k: v for k, v in rest.items() if (np.abs(v[:, 1]) < 1e30).any()}
    shown = []
    for panel in PANELS:
        mine = {k: v for k, v in rest.items() if re.fullmatch(panel.keys, k)}
        if mine:
            shown.append((panel, mine))
            rest = {k: v for k, v in rest.items() if k not in mine}
    mains = (d[k] for _, d in shown for k in ("loss", "classification_loss") if k in d)
    main = next(mains, None)
    if main is not None:  # total_loss of a run without other terms says nothing new
        if _is_multiple(rest.get("total_loss", main), main):
            rest.pop("total_loss", None)
    for i, (key, values) in enumerate(sorted(rest.items())):
        title = key[:1].upper() + key[1:].replace("_", " ")
        positive = not (values[:, 1] < 0).any()
        other = Panel(
            name=f"other{i}",
            title=title,
            unit="",
            keys=re.escape(key),
            from_zero=positive,
        )
        shown.append((other, {key: values}))
    return shown


def _is_multiple(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether a curve is another one times a constant, such as 1 or 2."""
    if one.shape != other.shape or not np.array_equal(one[:, 0], other[:, 0]):
        return False
    values, base = one[:, 1], other[:, 1]
    if not (np.isfinite(values).all() and np.isfinite(base).all() and base.any()):
        return np.array_equal(one, other)
    factor = float(values @ base / (base @ base))
    return bool(np.allclose(values, factor * base, rtol=1e-6, atol=0))


def _binned(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin [n, 2] to at most MAX_POINTS rows of means [m, 2], and minima, maxima [m]."""
    parts = np.array_split(xy, min(len(xy), MAX_POINTS))
    mean = np.array([p.mean(axis=0) for p in parts])
    low = np.array([p[:, 1].min() for p in parts])
    high = np.array([p[:, 1].max() for p in parts])
    return mean, low, high


def _draw_series(axes: Axes, xy: np.ndarray, *, label: str, color: str) -> None:
    xy = np.where(np.abs(xy) < 1e30, xy, np.nan)  # an infinity would set the scale
    if len(xy) > MAX_POINTS:
        xy, low, high = _binned(xy)
        axes.fill_between(xy[:, 0], low, high, color=color, alpha=0.2, linewidth=0)
    few = np.isfinite(xy[:, 1]).sum() <= 25
    axes.plot(
        xy[:, 0],
        xy[:, 1],
        color=color,
        linewidth=1.6,
        label=label,
        marker="o" if few else None,
        markersize=3.5,
    )


def _draw_reference(
    axes: Axes, value: float, text: str, data: Mapping[str, np.ndarray]
) -> None:
    """Draw a dashed line, its words on the side where the curves do not end."""
    ends = [xy[-max(len(xy) // 3, 1) :, 1] for xy in data.values()]
    last = np.concatenate(ends)
    last = np.where(np.abs(last) < 1e30, last, value)
    below = 0.2 * last.max() < value < last.mean()  # else there is no room below
    axes.axhline(value, color=drawing.INK, linestyle=(0, (5, 3)), linewidth=1.0)
    axes.annotate(
        drawing.plain(text),
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4 if below else 3),
        textcoords="offset points",
        ha="right",
        va="top" if below else "bottom",
        fontsize=8.5,
    )


def _finish_axes(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = axes.get_ylim()
    if panel.from_zero and high > 0:
        low = 0.0
    margin = 0.10 * (high - low)
    axes.set_ylim(low, high + margin)
    low_x, high_x = axes.get_xlim()
    axes.set_xlim(max(low_x, 0.0) if high_x > 0 else low_x, high_x)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=5, integer=True, steps=[1, 2, 2.5, 5, 10])
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{y:,.6g}".replace("-", "−"))
    )
    axes.grid(axis="y")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(drawing.plain(panel.unit))


def _fill(
    axes: Axes, panel: Panel, data: Mapping[str, np.ndarray], references: References
) -> None:
    scale = 100.0 if panel.percent else 1.0
    for i, (key, xy) in enumerate(data.items()):
        label = drawing.plain(_LABELS.get(key) or metric_label(key))
        color = drawing.PALETTE[i % len(drawing.PALETTE)]
        _draw_series(axes, xy * (1.0, scale), label=label, color=color)
    if panel.name in references:
        value, text = references[panel.name]
        scaled = {k: xy * (1.0, scale) for k, xy in data.items()}
        _draw_reference(axes, value * scale, text, scaled)
    _finish_axes(axes, panel)
    if len(data) > 3:  # above the curves, which would be hidden
        low, high = axes.get_ylim()
        rows = math.ceil(len(data) / 2)
        axes.set_ylim(low, high + 0.14 * rows * (high - low))
        axes.legend(loc="upper left", ncols=2, fontsize=6.5, columnspacing=1.0)
    elif len(data) > 1:
        axes.legend(loc="best")


def _with_chance(chance_loss: float | None, references: References | None) -> dict:
    joined = dict(references or {})
    if chance_loss is not None and math.isfinite(chance_loss):
        joined["loss"] = (chance_loss, f"chance, ln(2N−1) = {chance_loss:.2f}")
    return joined


def draw_panel(
    panel: Panel,
    data: Mapping[str, np.ndarray],
    *,
    chance_loss: float | None = None,
    references: References | None = None,
) -> Figure:
    """Draw one panel of ``panels`` as a figure of its own, without a title."""
    with drawing.style():
        figure = drawing.new_figure(3.9, 2.4)
        _fill(figure.subplots(), panel, data, _with_chance(chance_loss, references))
        return figure


def curves(
    history: Sequence[Mapping[str, Any]],
    *,
    chance_loss: float | None = None,
    references: References | None = None,
    columns: int = 3,
) -> Figure:
    """Draw all scalars of a run over its steps, one pair of axes per kind.

    Args:
        history: lines of metrics.jsonl: ``step`` and scalars, accuracies in [0, 1].
            Lines may hold different scalars, NaN, or other things (left out).
        chance_loss: ln(2N - 1), the loss of equal similarities; drawn dashed.
        references: panel name -> (value, text), more dashed lines.
        columns: panels side by side.
    """
    shown = panels(history)
    with drawing.style():
        if not shown:
            return drawing.message(drawing.new_figure(5, 2), "No scalars were logged.")
        columns = min(columns, len(shown))
        rows = math.ceil(len(shown) / columns)
        figure = drawing.new_figure(4.2 * columns, 2.8 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (panel, data) in zip(grid, shown, strict=False):
            _fill(axes, panel, data, _with_chance(chance_loss, references))
            axes.set_title(drawing.plain(panel.title))
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        return figure
