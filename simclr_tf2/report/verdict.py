"""What a run came to: one line, a few numbers, and warnings that matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf2 import plots
from simclr_tf2.report.facts import Config, duration, setting

Rows = Sequence[Mapping[str, Any]]
Scalars = Mapping[str, np.ndarray]  # name -> [n, 2] of (step, value)
FORGOTTEN = 5.0  # [ours] time constants after which a moving average has settled
_BASELINES = ("random", "pca", "pixel")  # in the name of a row without training


def _last(scalars: Scalars, *keys: str) -> float | None:
    """Return the last finite value of the first of ``keys`` that was ever logged."""
    for key in keys:
        values = scalars.get(key, np.zeros([0, 2]))[:, 1]
        values = values[np.isfinite(values)]
        if len(values):
            return float(values[-1])
    return None


def verdict(
    results: Rows, scalars: Scalars, config: Config | None, chance_loss: float | None
) -> str:
    """Sum the run up in a line: main accuracy beside the other rows', or the loss."""
    keys = plots.accuracy_keys(results)
    if not keys:
        return _loss_verdict(scalars, chance_loss)
    key = keys[0]
    scored = [
        (str(r.get("row", "")), 100 * r[key])
        for r in results
        if plots.is_number(r.get(key))
    ]
    (name, accuracy), rest = scored[0], scored[1:]
    method = plots.metric_label(key).removesuffix(", top-1")
    method = method[:1].lower() + method[1:] if method[1:2].islower() else method
    if key.startswith("supervised"):  # the row's name says whose classifier it is
        method = "top-1"
    line = f"{name}: {accuracy:.1f} % {method}"
    if rest:
        line += " (" + ", ".join(f"{n} {a:.1f} %" for n, a in rest[:4]) + ")"
    sources = ("manifest", "image_dir", "tfrecords", "dataset")
    source = next((s for name in sources if (s := setting(config, name))), None)
    if source:
        line += f" on {source} {setting(config, 'eval_split') or ''}".rstrip()
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
    """Return (value, name, remark) of the few numbers that are looked for first."""
    found: list[tuple[str, str, str]] = []
    for key in plots.accuracy_keys(results)[:2]:
        row = next(r for r in results if plots.is_number(r.get(key)))
        found.append(
            (
                f"{100 * row[key]:.1f} %",
                plots.metric_label(key),
                str(row.get("row", "")),
            )
        )
    loss = _last(scalars, "contrastive_loss", "loss", "classification_loss")
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
    scalars: Scalars, config: Config | None, chance_loss: float | None
) -> list[tuple[bool, str]]:
    """Check what can go wrong unseen: no learning, collapse, NaN; (good, sentence)."""
    return [
        *_check_finite(scalars),
        *_check_loss(scalars, chance_loss),
        *_check_collapse(scalars, config),
    ]


def check_worth(worth: Mapping[str, Any], results: Rows) -> list[tuple[bool, str]]:
    """Check that the first row is above the others; (good, sentence).

    Args:
        worth: What ``results.worth`` found; empty: only accuracies are compared.
        results: Rows of the table.
    """
    if not worth:
        return _check_baselines(results)
    low, _ = worth["against"][worth["best"]]["interval"]
    sentence = worth["sentence"]
    return [(low > 0, f"{sentence[:1].upper()}{sentence[1:]}.")]


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
    if loss > 1.02 * chance_loss:
        return [(False, f"The loss, {loss:.3f}, ended above its chance level "
                        f"{chance_loss:.3f}: the two views of an image are not nearer "
                        "to each other than to other images.")]  # fmt: skip
    return [(False, f"The loss, {loss:.3f}, is still near its chance level "
                    f"{chance_loss:.3f}: little was learned.")]  # fmt: skip


def _check_collapse(scalars: Scalars, config: Config | None) -> list[tuple[bool, str]]:
    """Compare with 1/sqrt(d), the std of points spread evenly on the unit sphere.

    It is measured with batch norm's moving averages, which make it 0 until they have
    forgotten where they began.
    """
    std, dims = _last(scalars, "std_z", "z_std"), _dimensions_of_z(config)
    if std is None or not plots.is_number(dims) or dims < 1:
        return []
    even = 1 / math.sqrt(dims)
    text = f"z has a spread of {std:.3f} per dimension ({even:.3f} if spread evenly)"
    steps = max(int(values[-1, 0]) for values in scalars.values() if len(values))
    settled = round(FORGOTTEN / (1 - (setting(config, "batch_norm_decay") or 0.9)))
    if std < 0.1 * even and steps < settled:
        return [(False, f"{text} after {steps:,} steps, which says nothing yet: the "
                        "moving averages of batch norm take about "
                        f"{settled:,}.")]  # fmt: skip
    if std < 0.1 * even:
        return [(False, f"{text}: the representation has collapsed.")]
    return [(True, f"{text}: no collapse.")]


def _dimensions_of_z(config: Config | None) -> Any:
    """Return the width of z: the projection head's, or that of h without a head."""
    if setting(config, "proj_head_mode") != "none":
        return setting(config, "proj_out_dim")
    depth, width = setting(config, "resnet_depth"), setting(config, "width_multiplier")
    if not (plots.is_number(depth) and plots.is_number(width)):
        return None
    return round((512 if depth < 50 else 2048) * width)


def _check_baselines(results: Rows) -> list[tuple[bool, str]]:
    keys = plots.accuracy_keys(results)
    if not keys:
        return []
    key = keys[0]
    scored = [r for r in results if plots.is_number(r.get(key))]
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
