"""Whether two splits hold the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simclr_tf2.data import image_sets, sources
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.subset import SubsetSource

# Containers (files, or splits of a file), and of each image the number of its container
# and its place there: int64 [n] both.
Places = tuple[Sequence[str | bytes], np.ndarray, np.ndarray]


def shared_images(first: Split, second: Split) -> int:
    """Count the images of ``second`` that are in ``first``, by where they are stored.

    A copy of an image at another place counts as another image; so does every image of
    which the place is not known (arrays that were handed over).
    """
    names, number, place = _places(first.source)
    other_names, other_number, other_place = _places(second.source)
    if not len(number) or not len(other_number):
        return 0
    known = {name: i for i, name in enumerate(names)}
    renumbered = np.array([known.get(name, -1) for name in other_names], np.int64)
    other_number = renumbered[other_number]
    stride = 1 + max(int(place.max()), int(other_place.max()))
    found = np.isin(other_number * stride + other_place, number * stride + place)
    return int((found & (other_number >= 0)).sum())


def _places(source: sources.Source) -> Places:
    """Return where the images of a source are stored; empty if it is not known."""
    if isinstance(source, SubsetSource):
        names, number, place = _places(source.base)
        if not len(number):
            return names, number, place
        return names, number[source.indices], place[source.indices]
    if isinstance(source, sources.RecordSource):
        shards = source.shards
        number = np.repeat(np.arange(len(shards.files)), shards.take)
        begins = np.cumsum(shards.take) - shards.take
        place = np.arange(len(number)) - np.repeat(begins - shards.skip, shards.take)
        kept = slice(None) if shards.kept is None else shards.kept
        return shards.files, number[kept], place[kept]
    if isinstance(source, image_sets.FileSource):
        number = np.arange(len(source.paths))
        return source.paths, number, np.zeros_like(number)
    if isinstance(source, sources.ArraySource) and source.places:
        parts = [rows for _, rows in source.places]
        number = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])
        return [name for name, _ in source.places], number, np.concatenate(parts)
    none = np.zeros(0, np.int64)
    return (), none, none
