"""Two-dimensional maps of representations: PCA and t-SNE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simclr_tf2.plots import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MAX_CLASSES = 24  # more than these are drawn grey, the rarest first
MIN_TSNE_POINTS = 8
TSNE_STEPS = 500  # of which 250 are its early exaggeration
_TITLES = {"pca": "PCA", "tsne": "t-SNE"}


def class_styles(num_classes: int) -> list[tuple[str, str]]:
    """Return (colour, marker) per class; markers change twice as often as colours end.

    So neighbours in the colour circle differ in shape too, and 40 pairs are distinct.
    """
    colors = len(drawing.PALETTE)
    return [
        (drawing.PALETTE[i % colors], MARKERS[2 * i // colors % len(MARKERS)])
        for i in range(num_classes)
    ]


def marker_path(marker: str) -> str:
    """Return the SVG path of a marker within [-0.5, 0.5], y downwards; for legends."""
    from matplotlib.markers import MarkerStyle

    marker_style = MarkerStyle(marker)
    path = marker_style.get_path().transformed(marker_style.get_transform())
    polygons: Any = path.to_polygons(closed_only=False)
    return "".join(
        "M" + "L".join(f"{x:.2f} {-y:.2f}" for x, y in polygon) + "Z"
        for polygon in polygons
    )


def _pca(rows: np.ndarray, dims: int) -> np.ndarray:
    """Project [n, d] on [n, dims] principal components; zeros where there are fewer."""
    centred = rows - rows.mean(axis=0)
    left, scale, right = np.linalg.svd(centred, full_matrices=False)
    # The sign of a component is arbitrary; fix it so that a map is repeatable.
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    found = (left * (scale * sign))[:, :dims]
    return np.pad(found, ((0, 0), (0, dims - found.shape[1])))


def _tsne(rows: np.ndarray, seed: int) -> np.ndarray | None:
    """Embed [n, d] in [n, 2] by t-SNE; None where there is nothing to unfold."""
    if len(rows) < MIN_TSNE_POINTS or np.ptp(rows, axis=0).max() < 1e-6:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    reduced = _pca(rows, min(50, *rows.shape)).astype(np.float32)
    start = (
        reduced[:, :2] if reduced.shape[1] > 1 else np.pad(reduced, ((0, 0), (0, 1)))
    )
    start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    model = TSNE(
        init=start,
        perplexity=min(30.0, (len(rows) - 1) / 3),
        max_iter=TSNE_STEPS,
        random_state=seed,
    )
    # Steps of milliseconds: on a busy machine threads wait for one another, tenfold.
    with threadpool_limits(1):
        places: np.ndarray = model.fit_transform(reduced)
    return places


def project(
    features: Any,
    *,
    methods: Sequence[str] = ("pca", "tsne"),
    max_points: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Project the unit vectors of ``features`` to two-dimensional coordinates.

    Args:
        features: [n, d]; rows that are not finite are left out.
        methods: "pca", "tsne"; t-SNE is left out under 8 points or without spread.
        max_points: a random so many are kept.
        seed: of the draw and of t-SNE.

    Returns:
        method -> [m, 2], and the m row numbers that were kept.
    """
    rows = np.asarray(features, np.float32)
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(kept) > max_points:
        kept = np.sort(np.random.default_rng(seed).permutation(kept)[:max_points])
    rows = rows[kept].astype(np.float64)
    if len(kept) < 2:
        return {}, kept
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found = {m: _pca(rows, 2) if m == "pca" else _tsne(rows, seed) for m in methods}
    return {m: xy for m, xy in found.items() if xy is not None}, kept


def legend_classes(labels: Any, *, max_classes: int = MAX_CLASSES) -> list[int]:
    """Return the classes that get a colour: all, or the commonest ``max_classes``."""
    known = np.asarray(labels)
    classes, counts = np.unique(known[known >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:max_classes]
    return sorted(int(c) for c in classes[order])


def _scatter(
    axes: Axes, xy: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]
) -> None:
    size = float(np.clip(1500 / max(len(xy), 1), 9, 40))
    shown = [] if labels is None else legend_classes(labels)
    rest = np.ones(len(xy), bool) if labels is None else ~np.isin(labels, shown)
    if rest.any():
        name = "images" if labels is None else "other"
        color = drawing.PALETTE[0] if labels is None else drawing.UNKNOWN
        axes.scatter(
            xy[rest, 0],
            xy[rest, 1],
            s=size,
            color=color,
            linewidths=0,
            label=name,
            alpha=0.8 if labels is None else 0.35,
        )
    for c, (color, marker) in zip(shown, class_styles(len(shown)), strict=True):
        name = drawing.shorten(drawing.class_label(c, class_names), 24)
        axes.scatter(
            xy[labels == c, 0],
            xy[labels == c, 1],
            s=size,
            color=color,
            marker=marker,
            linewidths=0,
            alpha=0.85,
            label=drawing.plain(name),
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(drawing.GRID)


def draw_map(
    xy: np.ndarray, labels: np.ndarray | None = None, *, class_names: Sequence[str] = ()
) -> Figure:
    """Draw one map of ``project`` as a figure of its own, without title and legend."""
    with drawing.style():
        figure = drawing.new_figure(4.6, 4.2)
        _scatter(figure.subplots(), xy, labels, class_names)
        return figure


def embedding_map(
    features: Any,
    labels: Any | None = None,
    *,
    class_names: Sequence[str] = (),
    methods: Sequence[str] = ("pca", "tsne"),
    max_points: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw PCA and t-SNE of representations side by side, coloured by class.

    Args:
        features: [n, d] representations h; they are scaled to unit length.
        labels: [n] integers, -1 for none; or None.
        class_names: names of the classes.
        methods: which maps, from left to right.
        max_points: a random so many are drawn.
        seed: of the draw and of t-SNE.
    """
    maps, kept = project(features, methods=methods, max_points=max_points, seed=seed)
    colors = None if labels is None else np.asarray(labels)[kept]
    with drawing.style():
        if not maps:
            return drawing.message(
                drawing.new_figure(5, 2), "Too few points for a map."
            )
        figure = drawing.new_figure(4.3 * len(maps) + 0.6, 4.8)
        grid = figure.subplots(1, len(maps), squeeze=False)[0]
        for axes, (method, xy) in zip(grid, maps.items(), strict=True):
            _scatter(axes, xy, colors, class_names)
            axes.set_title(f"{_TITLES[method]} of h, {len(xy):,} test images")
        if colors is not None:
            handles, names = grid[0].get_legend_handles_labels()
            figure.legend(
                handles, names, loc="outside lower center", ncols=5, markerscale=1.6
            )
        return figure
