"""Whether two splits hold the same images."""

from __future__ import annotations

from collections import defaultdict

from simclr_tf2.data import image_sets, sources, subset
from simclr_tf2.data.datasets import Split

Ranges = dict[str | bytes, list[tuple[int, int]]]


def shared_images(first: Split, second: Split) -> int:
    """How many images two splits have in common, by the place where they are stored.

    A copy of an image at another place counts as another image; so does every image of
    which the place is not known (arrays that were handed over).
    """
    a, b = _ranges(first.source), _ranges(second.source)
    return sum(
        max(0, min(stop, other_stop) - max(start, other_start))
        for container in a.keys() & b.keys()
        for start, stop in a[container]
        for other_start, other_stop in b[container]
    )


def _ranges(source: sources.Source) -> Ranges:
    """File, or split of a file -> (start, stop) of the images in it.

    Those of a subset are counted as all of what it was taken from.
    """
    found: Ranges = defaultdict(list)
    if isinstance(source, subset.SubsetSource):
        return _ranges(source.base)
    if isinstance(source, sources.RecordSource):
        shards = source.shards
        for file, skip, take in zip(
            shards.files, shards.skip.tolist(), shards.take.tolist(), strict=True
        ):
            found[file].append((skip, skip + take))
    elif isinstance(source, image_sets.FileSource):
        for path in source.paths:
            found[path].append((0, 1))
    elif isinstance(source, sources.ArraySource):
        for container, start, stop in source.ranges:
            found[container].append((start, stop))
    return found
