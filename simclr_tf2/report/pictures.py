"""The parts of the report that show images and maps, ready for the template."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from simclr_tf2 import plots
from simclr_tf2.report.contents import EncodedImages, Views

MAX_PAIRS = 10
NUM_QUERIES = 8
NUM_NEIGHBOURS = 8
_MAX_SIDE = 112  # pixels; larger images are shrunk before they are embedded
_MAX_PNG_SIDE = 64  # up to here lossless, above JPEG: keeps the page under 3 MB
_MAP_TITLES = {"pca": "PCA", "tsne": "t-SNE"}
_MAP_NOTES = {
    "pca": "A straight projection on the two directions of largest variance.",
    "tsne": "Keeps near points near; distances between clusters mean little.",
}


def data_uri(image: Any) -> str:
    """Write a small image as a data: address.

    The image is [h, w, 1 or 3] uint8 or float in [0, 1].
    """
    from PIL import Image

    picture = Image.fromarray(plots.to_uint8(image))
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    stream = io.BytesIO()
    if max(picture.size) <= _MAX_PNG_SIDE:
        picture.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        picture.save(stream, "JPEG", quality=85)
        kind = "jpeg"
    code = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{code}"


def inline_svg(figure: Any, *, name: str, label: str) -> Markup:
    """Write an SVG in the page's colours; ``label`` is for those who cannot see it."""
    text = plots.to_svg(figure, themed=True, name=name)
    head, rest = text.split(">", 1)
    return Markup(head) + Markup(' aria-label="{}">').format(label) + Markup(rest)


def pair_columns(views: Views | None) -> list[dict[str, str]]:
    """Return up to MAX_PAIRS originals, each with its two views and their notes."""
    if views is None:
        return []
    names = ("original", "view1", "view2")
    pairs = zip(views.originals, views.view1, views.view2, strict=True)
    columns = [
        {name: data_uri(image) for name, image in zip(names, images, strict=True)}
        for images in list(pairs)[:MAX_PAIRS]
    ]
    for column, (first, second) in zip(columns, views.notes, strict=False):
        column |= {"view1_note": first, "view2_note": second}
    return columns


def _known(labels: Any | None) -> np.ndarray | None:
    """Return labels as an array, or None where no image has one."""
    if labels is None:
        return None
    array = np.asarray(labels).reshape(-1)
    return array if (array >= 0).any() else None


def _class_name(label: int, class_names: Sequence[str]) -> str:
    return plots.class_label(label, class_names) if label >= 0 else ""


def _cell(
    image: Any,
    label: int,
    query_label: int,
    similarity: float,
    class_names: Sequence[str],
) -> dict[str, Any]:
    agrees = None if label < 0 or query_label < 0 else label == query_label
    return {
        "image": data_uri(image),
        "label": _class_name(label, class_names),
        "frame": {None: "unknown", True: "same", False: "other"}[agrees],
        "similarity": similarity,
    }


def neighbour_rows(
    test: EncodedImages | None,
    bank: EncodedImages | None,
    class_names: Sequence[str],
) -> dict[str, Any] | None:
    """Draw random test images with neighbours; say how often labels agree overall.

    Without a bank the neighbours are searched among the other test images.
    """
    itself = bank is None
    bank = bank or test
    if test is None or bank is None:
        return None
    if min(len(test.images), len(bank.images)) <= itself:
        return None
    mine, theirs = _known(test.labels), _known(bank.labels)
    features = np.asarray(test.features)
    chosen = plots.choose_queries(mine, total=len(features), count=NUM_QUERIES)
    found, cosine = plots.nearest(
        features[chosen],
        bank.features,
        k=NUM_NEIGHBOURS,
        leave_out=chosen if itself else None,
    )
    labels = np.full(len(features), -1) if mine is None else mine
    if theirs is None:
        theirs = np.full(len(bank.images), -1)
    rows = [
        {
            "image": data_uri(test.images[q]),
            "label": _class_name(labels[q], class_names),
            "cells": [
                _cell(bank.images[i], theirs[i], labels[q], float(s), class_names)
                for i, s in zip(line, similarities, strict=True)
            ],
        }
        for q, line, similarities in zip(chosen, found, cosine, strict=True)
    ]
    agreement, queries = plots.neighbour_agreement(
        features, bank.features, labels, theirs,
        k=NUM_NEIGHBOURS, leave_out_self=itself,
    )  # fmt: skip
    return {
        "rows": rows,
        "k": found.shape[1],
        "bank": len(bank.features) - itself,
        "agreement": agreement,
        "queries": queries,
        "itself": itself,
    }


def _legend(labels: np.ndarray, class_names: Sequence[str]) -> list[dict[str, str]]:
    shown = plots.legend_classes(labels)
    styles = plots.class_styles(len(shown))
    entries = [
        {"name": plots.class_label(c, class_names), "path": plots.marker_path(marker),
         "color": f"var(--c{plots.PALETTE.index(color)})"}
        for c, (color, marker) in zip(shown, styles, strict=True)
    ]  # fmt: skip
    others = len(np.unique(labels)) - len(shown)
    if others:
        name = "no label" if others == 1 and (labels < 0).any() else "all other classes"
        entries.append(
            {"name": name, "path": plots.marker_path("o"), "color": "var(--unknown)"}
        )
    return entries


def maps(
    test: EncodedImages | None, class_names: Sequence[str]
) -> dict[str, Any] | None:
    """Draw PCA and t-SNE of the test representations, with one legend for both."""
    if test is None:
        return None
    found, kept = plots.project(test.features)
    if not found:
        return None
    known = _known(test.labels)
    colors = None if known is None else known[kept]
    figures = [
        {
            "title": _MAP_TITLES[method],
            "about": _MAP_NOTES[method],
            "svg": inline_svg(
                plots.draw_map(xy, colors, class_names=class_names),
                name=f"map-{method}",
                label=f"{_MAP_TITLES[method]} map of {len(kept)} representations",
            ),
        }
        for method, xy in found.items()
    ]
    return {
        "figures": figures,
        "points": len(kept),
        "total": len(test.features),
        "legend": [] if colors is None else _legend(colors, class_names),
    }
