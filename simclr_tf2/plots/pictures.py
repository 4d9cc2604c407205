"""Pictures made of images: augmented pairs and nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simclr_tf2.plots import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHUNK = 256  # queries at a time, so that similarities never need [m, n] at once


def to_uint8(images: Any) -> np.ndarray:
    """Convert images of any channels and range to [..., h, w, 3] uint8.

    The images are [..., h, w, c] uint8, uint16 or float in [0, 1] (NaN: 0). Of more
    than three channels the first three are shown, of two the first.
    """
    array = np.asarray(images)
    if array.ndim < 3 or not array.shape[-1]:
        raise ValueError(
            f"images must be [..., height, width, channels]. Received: {array.shape}."
        )
    array = array[..., : 3 if array.shape[-1] >= 3 else 1]
    if array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        if np.issubdtype(array.dtype, np.floating):
            array = np.nan_to_num(array.astype(np.float32)) * 255.0 + 0.5
        array = np.clip(array, 0, 255).astype(np.uint8)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def _show(axes: Axes, image: np.ndarray, *, frame: str | None = None) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame)
        spine.set_linewidth(3.0)


def augmentation_grid(
    originals: Any, view1: Any, view2: Any, *, max_images: int = 8
) -> Figure:
    """Draw images with the two views drawn from each, one image per column.

    Args:
        originals: [k, h, w, 3] uint8 or float in [0, 1].
        view1: [k, s, s, 3] uint8 or float in [0, 1].
        view2: [k, s, s, 3] uint8 or float in [0, 1].
        max_images: how many of the k are shown, from the first.
    """
    rows = (("original", originals), ("view 1", view1), ("view 2", view2))
    shown = [(name, to_uint8(images)[:max_images]) for name, images in rows]
    count = len(shown[0][1])
    with drawing.style():
        if not count:
            return drawing.message(drawing.new_figure(5, 2), "No images.")
        figure = drawing.new_figure(1.05 * count + 0.5, 3.6)
        grid = figure.subplots(3, count, squeeze=False)
        for line, (name, images) in zip(grid, shown, strict=True):
            for axes, image in zip(line, images, strict=True):
                _show(axes, image)
            line[0].set_ylabel(name)
        figure.suptitle(
            "Pairs of views of one image",
            x=0.01,
            ha="left",
            fontsize=10,
            fontweight="bold",
        )
        return figure


def nearest_images(
    queries: Any, neighbours: Sequence[Sequence[Any]], captions: Sequence[Sequence[str]]
) -> Figure:
    """Draw each query with its neighbours in a row, most similar first.

    Args:
        queries: [m, h, w, c] uint8 or float in [0, 1].
        neighbours: m times k images [h, w, c].
        captions: m times k short texts, shown above the neighbours.
    """
    columns = 1 + max(map(len, neighbours))
    with drawing.style():
        figure = drawing.new_figure(1.15 * columns, 1.35 * len(neighbours) + 0.2)
        grid = figure.subplots(len(neighbours), columns, squeeze=False)
        for line, query, row, texts in zip(
            grid, queries, neighbours, captions, strict=True
        ):
            for axes in line:
                axes.set_axis_off()
            for axes, image, text in zip(
                line, [query, *row], ["query", *texts], strict=False
            ):
                axes.set_axis_on()
                _show(axes, to_uint8(image))
                axes.set_title(text, fontsize=8)
        return figure


def _unit(features: Any) -> np.ndarray:
    rows = np.nan_to_num(np.asarray(features, np.float32))
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = rows / np.maximum(lengths, 1e-12)
    return unit


def nearest(
    queries: Any, bank: Any, *, k: int, leave_out: Any | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` rows of ``bank`` with the largest cosine similarity to each query.

    Args:
        queries: [m, d].
        bank: [n, d].
        k: how many; at most n are returned (n - 1 with ``leave_out``).
        leave_out: [m] one row of ``bank`` per query that is not counted: itself.

    Returns:
        Indices int64 [m, min(k, n)], most similar first, and their similarities.
    """
    query_rows, bank_rows = _unit(queries), _unit(bank)
    k = min(k, len(bank_rows) - (leave_out is not None))
    indices = np.zeros((len(query_rows), k), np.int64)
    similarities = np.zeros((len(query_rows), k), np.float32)
    for start in range(0, len(query_rows), _CHUNK):
        part = query_rows[start : start + _CHUNK] @ bank_rows.T
        if leave_out is not None:
            out = np.asarray(leave_out)[start : start + _CHUNK]
            part[np.arange(len(part)), out] = -np.inf
        best = np.argsort(-part, axis=1, kind="stable")[:, :k]
        indices[start : start + _CHUNK] = best
        similarities[start : start + _CHUNK] = np.take_along_axis(part, best, axis=1)
    return indices, similarities


def choose_queries(
    labels: Any | None, *, total: int, count: int, seed: int = 0
) -> np.ndarray:
    """Draw indices of ``count`` random test images, spread over the classes if known.

    They are drawn with ``seed``, never picked for how well they do.
    """
    order = np.random.default_rng(seed).permutation(total)
    if labels is not None:
        classes = np.asarray(labels)[order]
        turn = np.zeros(total, np.int64)  # how many of its class came before it
        for c in np.unique(classes):
            mine = classes == c
            turn[mine] = np.arange(mine.sum())
        order = order[np.argsort(turn, kind="stable")]
    return order[:count]


def neighbour_agreement(
    test_features: Any,
    bank_features: Any,
    test_labels: Any,
    bank_labels: Any,
    *,
    k: int = 8,
    leave_out_self: bool = False,
    max_queries: int = 500,
    seed: int = 0,
) -> tuple[float, int]:
    """Return the share of ``k`` nearest neighbours with the query's label.

    The number of queries is returned beside it. Neighbours without a label do not
    count. Measured on a random ``max_queries`` of the test images to stay quick.
    ``leave_out_self``: the bank is the test set.
    """  # fmt: skip
    labels, bank = np.asarray(test_labels), np.asarray(bank_labels)
    known = np.flatnonzero(labels >= 0)
    known = np.random.default_rng(seed).permutation(known)[:max_queries]
    if not len(known):
        return float("nan"), 0
    indices, _ = nearest(
        np.asarray(test_features)[known],
        bank_features,
        k=k,
        leave_out=known if leave_out_self else None,
    )
    found = bank[indices]
    same = (found == labels[known][:, None])[found >= 0]
    return (float(same.mean()), len(known)) if len(same) else (float("nan"), 0)


def _frame_color(query_label: int, label: int) -> str:
    if query_label < 0 or label < 0:
        return drawing.UNKNOWN
    return drawing.GOOD if query_label == label else drawing.BAD


def neighbours(
    test_images: Any,
    test_features: Any,
    bank_images: Any,
    bank_features: Any,
    *,
    test_labels: Any | None = None,
    bank_labels: Any | None = None,
    class_names: Sequence[str] = (),
    num_queries: int = 8,
    num_neighbours: int = 8,
    seed: int = 0,
) -> Figure:
    """Draw random test images, each with its nearest bank images by cosine of h.

    Frames tell whether labels agree (green) or not (vermilion); grey: not known.

    Args:
        test_images: [m, h, w, 3] uint8 or float in [0, 1].
        test_features: [m, d].
        bank_images: [n, h, w, 3].
        bank_features: [n, d].
        test_labels: [m] integers, -1 for none; or None.
        bank_labels: [n] integers, -1 for none; or None.
        class_names: names of the classes.
        num_queries: rows.
        num_neighbours: neighbours per row.
        seed: of the draw of the queries.
    """
    total = len(np.asarray(test_features))
    nothing = np.full(total, -1), np.full(len(np.asarray(bank_features)), -1)
    mine = nothing[0] if test_labels is None else np.asarray(test_labels)
    theirs = nothing[1] if bank_labels is None else np.asarray(bank_labels)
    chosen = choose_queries(test_labels, total=total, count=num_queries, seed=seed)
    indices, _ = nearest(
        np.asarray(test_features)[chosen], bank_features, k=num_neighbours
    )
    with drawing.style():
        if not indices.size:
            return drawing.message(drawing.new_figure(5, 2), "No images.")
        columns = indices.shape[1] + 1
        figure = drawing.new_figure(0.95 * columns + 0.9, 0.95 * len(chosen) + 0.7)
        grid = figure.subplots(
            len(chosen),
            columns,
            squeeze=False,
            width_ratios=[1.15] + [1.0] * (columns - 1),
        )
        for line, query, found in zip(grid, chosen, indices, strict=True):
            label = int(mine[query])
            _show(line[0], to_uint8(test_images[query]))
            if label >= 0:
                name = drawing.shorten(drawing.class_label(label, class_names), 16)
                line[0].set_ylabel(
                    drawing.plain(name), rotation=0, ha="right", va="center", fontsize=8
                )
            for axes, i in zip(line[1:], found, strict=True):
                frame = _frame_color(label, int(theirs[i]))
                _show(axes, to_uint8(bank_images[i]), frame=frame)
        grid[0][0].set_title("query", fontweight="normal", loc="left")
        head = grid[0][1].annotate(
            "nearest neighbours in h, most similar first",
            (0, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=10,
        )
        head.set_in_layout(False)  # it is wider than its column
        return figure
