"""Originals beside the views drawn from them, with what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simclr_tf2.plots import drawing
from simclr_tf2.plots.pictures import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_ADDED = ("hue", "added brightness")  # amounts that are no factors


def preview(
    originals: Sequence[Any],
    views: Sequence[Sequence[Any]],
    drawn: Sequence[Sequence[dict[str, Any]]],
) -> Figure:
    """Draw a row per image: the original with the windows of its views, then the views.

    Args:
        originals: k images [h, w, c], of any sizes; uint8 or float in [0, 1].
        views: k times the views [s, s, c] of that image, float in [0, 1].
        drawn: k times what ``augmentations.describe_view`` says of each of them.
    """
    columns = 1 + len(views[0])
    with drawing.style():
        figure = drawing.new_figure(2.1 * columns, 2.5 * len(originals))
        grid = figure.subplots(len(originals), columns, squeeze=False)
        for line, image, row, words in zip(grid, originals, views, drawn, strict=True):
            _picture(line[0], image)
            line[0].set_title("original", fontsize=7)
            for number, (axes, view, facts) in enumerate(
                zip(line[1:], row, words, strict=True)
            ):
                color = drawing.PALETTE[number % len(drawing.PALETTE)]
                _window(line[0], facts["crop"], color)
                _picture(axes, view, frame=color)
                axes.set_title(caption(facts), fontsize=6, loc="left")
        return figure


def caption(facts: dict[str, Any]) -> str:
    """Say in a few short lines what was drawn."""
    jitter = facts["jitter"]
    words = [
        f"{name} {amount:+.2f}" if name in _ADDED else f"{name} ×{amount:.2f}"
        for name, amount in (jitter or {}).items()
    ]
    lines = [" ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
    others = [
        name.replace("_", " ")
        for name in ("flip", "vertical_flip", "grayscale")
        if facts[name]
    ]
    if facts["turn"]:
        others.append(f"turn {facts['turn']}°")
    if facts["blur"] is not None:
        others.append(f"blur σ {facts['blur']:.2f}")
    if facts["solarize"] is not None:
        others.append(f"solarize {facts['solarize']:.2f}")
    if not jitter:
        others.insert(0, "no jitter")
    lines += [", ".join(others[i : i + 3]) for i in range(0, len(others), 3)]
    return "\n".join(lines)


def _picture(axes: Any, image: Any, *, frame: str | None = None) -> None:
    axes.imshow(to_uint8(image), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame)
        spine.set_linewidth(2.0)


def _window(axes: Any, crop: tuple[int, int, int, int], color: str) -> None:
    from matplotlib.patches import Rectangle

    y, x, height, width = crop
    axes.add_patch(
        Rectangle((x - 0.5, y - 0.5), width, height, fill=False, lw=1.5, ec=color)
    )
