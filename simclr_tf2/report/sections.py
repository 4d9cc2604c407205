"""The parts of the report made of numbers and text, ready for the template."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf2 import plots
from simclr_tf2.report.pictures import inline_svg

Config = Mapping[str, Mapping[str, Any]]
Rows = Sequence[Mapping[str, Any]]
Scalars = Mapping[str, np.ndarray]  # name -> [n, 2] of (step, value)
_MISSING = object()
NO_BREAK_HYPHEN = "\N{NON-BREAKING HYPHEN}"
_BASELINES = ("random", "pca", "pixel")  # in the name of a row without training


def _setting(config: Config | None, name: str) -> Any:
    """The value of ``name`` in whichever section has it, or None."""
    return next((part[name] for part in (config or {}).values() if name in part), None)


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _last(scalars: Scalars, *keys: str) -> float | None:
    """The last finite value of the first of ``keys`` that was ever logged."""
    for key in keys:
        values = scalars.get(key, np.zeros([0, 2]))[:, 1]
        values = values[np.isfinite(values)]
        if len(values):
            return float(values[-1])
    return None


def duration(seconds: float) -> str:
    """``3725`` -> ``1 h 2 min``; ``0.234`` -> ``0.23 s``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if seconds < 600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def value_text(value: Any) -> str:
    """A setting as a person writes it: lists with commas, no quotes, no 1e-06."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(value_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if str(value) else '""'


def verdict(
    results: Rows, scalars: Scalars, config: Config | None, chance_loss: float | None
) -> str:
    """The run in one line: its main accuracy beside the other rows', or the loss."""
    keys = plots.accuracy_keys(results)
    if not keys:
        return _loss_verdict(scalars, chance_loss)
    key = keys[0]
    scored = [
        (str(r.get("row", "")), 100 * r[key]) for r in results if _is_number(r.get(key))
    ]
    (name, accuracy), rest = scored[0], scored[1:]
    method = plots.metric_label(key).removesuffix(", top-1")
    method = method[:1].lower() + method[1:] if method[1:2].islower() else method
    line = f"{name}: {accuracy:.1f} % {method}"
    if rest:
        line += " (" + ", ".join(f"{n} {a:.1f} %" for n, a in rest[:4]) + ")"
    dataset = _setting(config, "dataset")
    if dataset:
        line += f" on {dataset} {_setting(config, 'eval_split') or ''}".rstrip()
    return line


def _loss_verdict(scalars: Scalars, chance_loss: float | None) -> str:
    loss = _last(scalars, "contrastive_loss", "loss")
    if loss is None:
        return "Nothing was measured."
    steps = max(int(v[-1, 0]) for v in scalars.values())
    line = f"Contrastive loss {loss:.3f}"
    if chance_loss is not None:
        line += f" (chance {chance_loss:.3f})"
    return f"{line} after {steps:,} steps; no accuracy was measured"


def tiles(
    scalars: Scalars,
    results: Rows,
    timings: Mapping[str, float] | None,
    chance_loss: float | None,
) -> list[tuple[str, str, str]]:
    """(value, name, remark) of the few numbers that are looked for first."""
    found: list[tuple[str, str, str]] = []
    for key in plots.accuracy_keys(results)[:2]:
        row = results[0]
        if _is_number(row.get(key)):
            found.append(
                (
                    f"{100 * row[key]:.1f} %",
                    plots.metric_label(key),
                    str(row.get("row", "")),
                )
            )
    loss = _last(scalars, "contrastive_loss", "loss")
    if loss is not None:
        remark = "" if chance_loss is None else f"chance {chance_loss:.2f}"
        found.append((f"{loss:.3f}", "last loss", remark))
    accuracy = _last(scalars, "contrastive_accuracy")
    if accuracy is not None:
        found.append((f"{100 * accuracy:.1f} %", "contrastive accuracy", "last logged"))
    steps = [v[-1, 0] for v in scalars.values()]
    if steps:
        found.append((f"{int(max(steps)):,}", "steps", "last logged"))
    speed = scalars.get("images_per_second", np.zeros([0, 2]))[:, 1]
    if np.isfinite(speed).any():
        found.append(
            (
                f"{np.median(speed[np.isfinite(speed)]):,.0f}",
                "images per second",
                "median in training",
            )
        )
    if timings:
        found.append((duration(sum(timings.values())), "in all", ""))
    return found


def checks(
    scalars: Scalars, results: Rows, config: Config | None, chance_loss: float | None
) -> list[tuple[bool, str]]:
    """(good, sentence) for what can go wrong unseen: no learning, collapse, NaN."""
    return [
        *_check_finite(scalars),
        *_check_loss(scalars, chance_loss),
        *_check_collapse(scalars, _setting(config, "proj_out_dim")),
        *_check_baselines(results),
    ]


def _check_finite(scalars: Scalars) -> list[tuple[bool, str]]:
    bad = {k: v[~np.isfinite(v[:, 1]), 0] for k, v in scalars.items()}
    return [
        (False, f"{key} was not finite {len(steps):,} time{'s'[: len(steps) > 1]}, "
                f"first at step {int(steps[0]):,}.")
        for key, steps in bad.items() if len(steps)
    ]  # fmt: skip


def _check_loss(scalars: Scalars, chance_loss: float | None) -> list[tuple[bool, str]]:
    loss = _last(scalars, "contrastive_loss", "loss")
    if loss is None or chance_loss is None:
        return []
    if loss < 0.95 * chance_loss:
        return [(True, f"The loss fell to {loss:.3f}, below its chance level "
                       f"{chance_loss:.3f}.")]  # fmt: skip
    return [(False, f"The loss, {loss:.3f}, is still near its chance level "
                    f"{chance_loss:.3f}: little was learned.")]  # fmt: skip


def _check_collapse(scalars: Scalars, dims: Any) -> list[tuple[bool, str]]:
    """z on the unit sphere in d dimensions has std 1/sqrt(d) when spread evenly."""
    std = _last(scalars, "std_z", "z_std")
    if std is None or not _is_number(dims) or dims < 1:
        return []
    even = 1 / math.sqrt(dims)
    text = f"z has a spread of {std:.3f} per dimension ({even:.3f} if spread evenly)"
    if std < 0.1 * even:
        return [(False, f"{text}: the representation has collapsed.")]
    return [(True, f"{text}: no collapse.")]


def _check_baselines(results: Rows) -> list[tuple[bool, str]]:
    keys = plots.accuracy_keys(results)
    if not keys:
        return []
    key = keys[0]
    scored = [r for r in results if _is_number(r.get(key))]
    baselines = [
        r for r in scored[1:] if any(w in str(r.get("row")).lower() for w in _BASELINES)
    ]
    if not baselines:
        return []
    best = max(baselines, key=lambda r: r[key])
    gap = 100 * (scored[0][key] - best[key])
    text = (
        f"{scored[0].get('row')} is {abs(gap):.1f} points "
        f"{'above' if gap > 0 else 'below'} the better baseline, {best.get('row')}."
    )
    return [(gap > 0, text)]


def _chance(class_names: Sequence[str]) -> float | None:
    return 1 / len(class_names) if len(class_names) > 1 else None


def _result_cell(value: Any, key: str, accuracies: Sequence[str]) -> str:
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return "–"
    if key in accuracies and _is_number(value):
        return f"{100 * value:.1f}"
    if _is_number(value):
        return f"{value:,.6g}"
    return value_text(value)


def result_table(results: Rows, class_names: Sequence[str]) -> dict[str, Any] | None:
    """The result table (accuracies in %, the best of a column marked) and its bars."""
    if not results:
        return None
    keys = [k for k in dict.fromkeys(k for r in results for k in r) if k != "row"]
    accuracies = plots.accuracy_keys(results)
    best = {k: max(r[k] for r in results if _is_number(r.get(k))) for k in accuracies}
    lines = []
    for row in results:
        cells = [
            (
                _result_cell(row.get(k), k, accuracies),
                k in best and len(results) > 1 and row.get(k) == best[k],
            )
            for k in keys
        ]
        lines.append({"name": str(row.get("row", "")), "cells": cells})
    heads = [plots.metric_label(k).replace("-", NO_BREAK_HYPHEN) for k in keys]
    bars = None
    if accuracies:
        figure = plots.result_bars(results, chance=_chance(class_names), title=None)
        bars = inline_svg(figure, name="bars", label="Accuracies of the result table")
    return {"heads": heads, "rows": lines, "bars": bars}


def curve_figures(
    history: Rows, chance_loss: float | None, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """One small figure per kind of scalar."""
    chance = _chance(class_names)
    references = {}
    if chance is not None:
        references["online"] = (chance, f"chance, {100 * chance:.3g} %")
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


def confusion_figure(matrix: Any | None, class_names: Sequence[str]) -> dict | None:
    """The confusion matrix as SVG, or None where there is none."""
    if matrix is None or not np.asarray(matrix).any():
        return None
    figure = plots.confusion(matrix, class_names=class_names, title=None)
    svg = inline_svg(figure, name="confusion", label="Confusion matrix")
    # Narrower than this the numbers cannot be read: the page scrolls it instead.
    return {"svg": svg, "min_width": min(120 + 26 * len(np.asarray(matrix)), 720)}


def _same(value: Any, default: Any) -> bool:
    """Equal, where a list counts as the tuple it was before JSON."""
    if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
        return list(value) == list(default)
    return value == default


def config_tables(config: Config | None, defaults: Config | None) -> list[dict]:
    """Per section its settings: name, value, default and whether they differ."""
    tables = []
    for section, settings in (config or {}).items():
        known = (defaults or {}).get(section, {})
        rows = []
        for name, value in settings.items():
            default = known.get(name, _MISSING)
            changed = default is not _MISSING and not _same(value, default)
            rows.append(
                {
                    "name": name,
                    "value": value_text(value),
                    "changed": changed,
                    "default": value_text(default) if changed else "",
                }
            )
        if rows:
            changes = sum(r["changed"] for r in rows)
            tables.append({"name": section, "rows": rows, "changes": changes})
    return tables


def command(config: Config | None, defaults: Config | None) -> str:
    """The command line that sets what differs from the defaults."""
    words = []
    for section, settings in (config or {}).items():
        known = (defaults or {}).get(section, {})
        for name, value in settings.items():
            if value is None or name not in known or _same(value, known[name]):
                continue
            if isinstance(value, (list, tuple)):
                text = ",".join(map(value_text, value))
            else:
                text = "" if value == "" else value_text(value)
                text = repr(value) if isinstance(value, float) else text
            words.append(shlex.quote(f"--{name}={text}"))
    return " \\\n  ".join(["python run.py", *words]) if words else ""


def timing_rows(timings: Mapping[str, float] | None) -> list[tuple[str, str, float]]:
    """(phase, duration, share of the longest in %)."""
    longest = max([v for v in (timings or {}).values() if v > 0], default=1.0)
    return [
        (name, duration(seconds), 100 * max(seconds, 0) / longest)
        for name, seconds in (timings or {}).items()
    ]


_KERAS = """import keras

encoder = keras.models.load_model({path})
h = encoder.predict(images)  # images: float32 [n, {size}, {size}, 3] in [0, 1]"""
_SAVED_MODEL = """import tensorflow_hub as hub  # or: tf.saved_model.load

module = hub.load({path})
outputs = module(images, trainable=False)  # float32 [n, {size}, {size}, 3] in [0, 1]
h = outputs["final_avg_pool"]"""


def loading_snippets(
    files: Sequence[tuple[Any, str]], config: Config | None
) -> list[tuple[str, str]]:
    """(heading, code) that loads what was written: Keras file, SavedModel."""
    size = _setting(config, "image_size") or "s"
    found: dict[str, str] = {}
    for path, _ in files:
        text = os.fspath(path)
        quoted = json.dumps(text, ensure_ascii=False)
        if text.endswith(".keras"):
            code = _KERAS.format(path=quoted, size=size)
            found.setdefault("Keras, no code of this package needed", code)
        elif "saved_model" in text:
            code = _SAVED_MODEL.format(path=quoted, size=size)
            found.setdefault("TensorFlow Hub SavedModel", code)
    return list(found.items())
