"""Some images of a split: a fair sample, also of a split that is sorted by class.

What this program picks by itself (the images of a limit, bank and queries of the online
kNN, pictures of a report) is drawn by one fixed permutation, so that every run and seed
has the same. Of images in a mixed order (``Source.mixed``) the first ones are taken,
which is as good and reads no more than these.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_tf2.data import datasets, order, records, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.sources import RecordSource

_DEAL = 0  # seed of the parts of a sample; any number will do


def sample(split: Split, limit: int | None) -> Split:
    """Sample at most ``limit`` images of a split, in its order; None takes them all."""
    rows = sampled_rows(split, limit)
    if len(rows) == split.num_examples:
        return split
    shards = None if split.source.mixed else _front(split, len(rows))
    if shards is None:
        return subset.take(split, rows, name=split.split)
    assert isinstance(split.source, RecordSource)
    # Nothing behind the last record that may be drawn is read.
    front = dataclasses.replace(
        split,
        num_examples=int(shards.counts.sum()),
        source=dataclasses.replace(split.source, shards=shards, read=shards.in_order),
    )
    drawn = order.drawn(0, len(rows), front.num_examples)
    return subset.take(front, drawn, name=split.split)


def sampled_rows(split: Split, limit: int | None) -> np.ndarray:
    """Return the places in the split of the images of ``sample``, int64, sorted."""
    count = split.num_examples
    if limit is None or limit >= count:
        return np.arange(count)
    if split.source.mixed:
        return np.arange(limit)
    shards = _front(split, limit)
    if shards is None:
        return order.drawn(0, limit, count)
    assert isinstance(split.source, RecordSource)
    in_front = split.source.shards.places_of(shards)
    rows: np.ndarray = in_front[order.drawn(0, limit, len(in_front))]
    return rows


def deal(split: Split, *sizes: int) -> list[Split]:
    """Deal disjoint samples of ``sizes`` images; the split must have so many."""
    whole = sample(split, sum(sizes))
    places = np.arange(whole.num_examples)
    if not split.source.mixed:  # in order, the parts would share no class
        places = np.random.default_rng(_DEAL).permutation(places)
    ends = np.cumsum(sizes)
    return [
        subset.take(whole, np.sort(places[end - size : end]), name=split.split)
        for size, end in zip(sizes, ends, strict=True)
    ]


def _front(split: Split, limit: int) -> records.Shards | None:
    """Return the parts of large record files to sample from; None without files.

    Records have to be read one after the other, so that a sample of all of them costs
    as much as an epoch. It is drawn from the front of every file: MEMORY_LIMIT bytes,
    or as many records as are wanted.
    """
    source = split.source
    if not isinstance(source, RecordSource) or source.reading:
        return None
    if source.shards.file_format != "tfrecord":
        return None
    size = max(1, source.num_bytes)
    fraction = max(datasets.MEMORY_LIMIT / size, limit / split.num_examples)
    shards = source.shards.front(min(1.0, fraction))
    enough = shards.counts.sum() >= limit  # kept records may lie further behind
    return shards if enough else source.shards
