"""Find the images of an embedded set that are most similar to given pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from simclr_tf2 import evaluation, plots
from simclr_tf2.config import Config
from simclr_tf2.data import image_sets, pipeline, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import remote_files


def open_queries(config: Config) -> Split:
    """Open the files of ``--neighbours_of``, in their order.

    Raises:
        ConfigError: One of them is missing or broken.
    """
    images = image_sets.open_files(config.export.neighbours_of, config.data)
    for path, error in zip(images.listing.paths, images.index.error, strict=True):
        if error:
            raise ConfigError(f"--neighbours_of={path} cannot be read: {error}")
    return images.open_sorted(
        channels=config.data.image_channels, pixels=config.data.pixel_range
    )


def nearest_images(
    config: Config,
    encoder: keras.Model,
    queries: Split,
    images: Split,
    *,
    names: Sequence[str],
    features: np.ndarray,
) -> list[dict[str, Any]]:
    """Find the nearest images by cosine similarity of h; print and draw them.

    A query that is one of the embedded files is left out of its own neighbours.

    Args:
        config: Whole config; ``--num_neighbours`` and ``--preview`` come from it.
        encoder: Images -> h.
        queries: What ``open_queries`` returned.
        images: The embedded images.
        names: Their names, ``[n]``.
        features: float32 ``[n, d]``, their h.

    Returns:
        A record per query: ``query`` and ``neighbours``, a list of ``name`` and
        ``cosine``, most similar first.

    Raises:
        ConfigError: The picture cannot be written.
    """
    dataset = _eval_view(config, queries)
    found = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    asked, k = config.export.neighbours_of, config.export.num_neighbours
    own = [_place(query, images) for query in asked]
    nearest, similarity = plots.nearest(found.features, features, k=k + 1)
    rows = [
        [(int(i), float(s)) for i, s in zip(*pair, strict=True) if i != place][:k]
        for *pair, place in zip(nearest, similarity, own, strict=True)
    ]
    for query, row in zip(asked, rows, strict=True):
        lines = [f"{i:>3}  {s:6.3f}  {names[p]}" for i, (p, s) in enumerate(row, 1)]
        print("\n".join([f"nearest to {query} (rank, cosine of h, image)", *lines]))
    if config.export.preview:
        _draw(config, queries, images, rows, config.export.preview)
    return [
        {
            "query": query,
            "neighbours": [{"name": names[p], "cosine": s} for p, s in row],
        }
        for query, row in zip(asked, rows, strict=True)
    ]


def _place(query: str, images: Split) -> int | None:
    """Return the row of the embedded file that a query is; None if it is another."""
    if not isinstance(images.source, image_sets.FileSource):
        return None
    path = os.path.realpath(query)
    paths = (os.path.realpath(os.fsdecode(other)) for other in images.source.paths)
    return next((place for place, other in enumerate(paths) if other == path), None)


def _eval_view(config: Config, split: Split) -> Any:
    return pipeline.make_eval_dataset(
        split,
        batch_size=min(config.evaluation.eval_batch_size, split.num_examples),
        image_size=config.data.image_size,
    )


def _draw(
    config: Config,
    queries: Split,
    images: Split,
    rows: Sequence[Sequence[tuple[int, float]]],
    place: str,
) -> None:
    """Write a picture: a row per query, with its neighbours and their cosine."""
    places = sorted({place for row in rows for place, _ in row})
    shown = subset.take(images, np.array(places), name=images.split)
    pixels = dict(zip(places, _pixels(config, shown), strict=True))
    figure = plots.nearest_images(
        _pixels(config, queries),
        [[pixels[place] for place, _ in row] for row in rows],
        [[f"{similarity:.2f}" for _, similarity in row] for row in rows],
    )
    try:
        with remote_files.written(place) as path:
            Path(path).write_bytes(plots.to_png(figure, dpi=110))
    except OSError as error:
        raise ConfigError(f"--preview={place} cannot be written: {error}") from error
    print(f"{place}: a picture of them", flush=True)


def _pixels(config: Config, split: Split) -> np.ndarray:
    """Return every image of a split as evaluation sees it, float32 ``[n, h, w, c]``."""
    batches = _eval_view(config, split).as_numpy_iterator()
    return np.concatenate([batch["image"][batch["mask"]] for batch in batches])
