"""Which images a split holds, wherever they lie: a digest to tell a change by."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from simclr_tf2.data import prepare, sampling
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.image_sets import FileSource
from simclr_tf2.data.sources import ArraySource, RecordSource, Source, digest
from simclr_tf2.data.subset import SubsetSource, stored_labels

SAMPLED = 1000  # [ours] images of an array whose pixels are read


def images_digest(source: Source) -> str:
    """Return a digest of the images.

    Of image files it takes the names below their common folder and their sizes.

    A folder that was moved keeps its digest. Of record files it takes names, sizes and
    the records that belong to the split, of arrays the shape and a sample of pixels.
    """
    if isinstance(source, FileSource):
        return digest(_below_common_folder(source.paths), source.sizes.tobytes())
    if isinstance(source, RecordSource):
        shards = source.shards
        names = [os.path.basename(os.fsdecode(path)) for path in shards.files]
        sizes = prepare.file_sizes(list(shards.files))
        return digest(names, sizes, shards.skip.tolist(), shards.take.tolist())
    if isinstance(source, ArraySource):
        every = max(1, len(source.images) // SAMPLED)
        return digest(source.images.shape, source.images[::every].tobytes())
    if isinstance(source, SubsetSource):
        return digest(images_digest(source.base), source.indices.tobytes())
    return source.fingerprint


def labels_digest(source: Source) -> str:
    """Return a digest of the labels in image order; empty where they are in records."""
    labels = stored_labels(source)
    return "" if labels is None else digest(labels.tobytes())


def _below_common_folder(paths: tuple[bytes, ...]) -> list[str]:
    texts = [os.fsdecode(path) for path in paths]
    start = os.path.commonprefix(texts)  # noqa: RUF071 characters: cut below
    cut = max(start.rfind("/"), start.rfind(os.sep)) + 1
    return [text[cut:] for text in texts]


DIGESTED = 64  # [ours] images that say which data set this is


def images_of(split: Split, limit: int | None) -> dict[str, Any]:
    """Describe the images tested on: names for people, and a digest to compare.

    The digest is of the first images' bytes as they are stored, so that a data set is
    the same in another folder too.

    Args:
        split: The evaluation split.
        limit: At most so many images of it; None for all.
    """
    tested = sampling.sample(split, limit)
    count = tested.num_examples
    digest = hashlib.blake2b(digest_size=16)
    for example in tested.as_dataset().take(DIGESTED).as_numpy_iterator():
        stored = example["image"]
        digest.update(stored if isinstance(stored, bytes) else stored.tobytes())
    return {
        "dataset": split.name,
        "split": split.split,
        "count": count,
        "digest": digest.hexdigest(),
    }
