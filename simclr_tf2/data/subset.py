"""Some images of a split as a split of their own."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2.data import once, order, sources
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.sources import Example, Source
from simclr_tf2.errors import ConfigError


@dataclass(frozen=True)
class SubsetSource:
    """The images of another source at some places, in that order.

    Attributes:
        base: The source.
        indices: int64 [k], sorted places in it.
        count: Images of the base.
    """

    base: Source
    indices: np.ndarray
    count: int

    @property
    def random_access(self) -> bool:
        """Whether ``at`` works, as for the base."""
        return self.base.random_access

    @property
    def mixed(self) -> bool:
        """Whether the order is a shuffled one, as for the base."""
        return self.base.mixed

    @property
    def num_bytes(self) -> int:
        """The subset's share of the bytes of the base."""
        return self.base.num_bytes * len(self.indices) // self.count

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the base and of the choice."""
        return sources.digest(self.base.fingerprint, self.indices.tobytes())

    @functools.cached_property
    def _places(self) -> tf.Tensor:
        with tf.init_scope(), tf.device("/cpu:0"):
            return tf.constant(self.indices)

    def examples(self) -> tf.data.Dataset:
        """Return a dataset of every chosen image once, in order."""
        if self.random_access:
            dataset = tf.data.Dataset.range(len(self.indices))
            return dataset.map(self.at, num_parallel_calls=tf.data.AUTOTUNE)
        wanted = np.zeros(self.count, bool)
        wanted[self.indices] = True
        with tf.device("/cpu:0"):
            chosen = tf.constant(wanted)
        dataset = self.base.examples().filter(lambda e: tf.gather(chosen, e["index"]))
        dataset = dataset.take(len(self.indices))  # reads nothing behind the last one
        return dataset.enumerate().map(lambda place, e: {**e, "index": place})

    def at(self, index: tf.Tensor) -> Example:
        """Return one example by its place in the subset."""
        return {**self.base.at(tf.gather(self._places, index)), "index": index}

    def stream(
        self, plan: order.BatchPlan, *, seed: int, start_step: int
    ) -> tf.data.Dataset:
        """Refuse to stream, which is not possible: chosen records lie anywhere."""
        raise ConfigError(
            f"the {len(self.indices)} chosen images do not fit in memory and cannot be "
            "streamed; choose fewer, or pass --cache=encoded to hold them all the same"
        )

    def decode(self, example: Example) -> tf.Tensor:
        """Decode an example to pixels [h, w, c]."""
        return self.base.decode(example)

    def first_broken(self) -> str | None:
        """Return what of the base cannot be read by now."""
        return self.base.first_broken()


def take(split: Split, indices: np.ndarray, *, name: str) -> Split:
    """Take the images of ``split`` at ``indices`` (sorted), as the split ``name``."""
    assert len(indices) and (np.diff(indices) > 0).all(), "sorted and distinct"
    return dataclasses.replace(
        split,
        split=name,
        num_examples=len(indices),
        source=SubsetSource(split.source, np.asarray(indices), split.num_examples),
    )


def stored_labels(source: Source) -> np.ndarray | None:
    """Return labels that are in memory already, int64 [n] or [n, l]; else None.

    The labels of record files are not in memory.
    """
    if isinstance(source, SubsetSource):
        known = stored_labels(source.base)
        return None if known is None else known[source.indices]
    return getattr(source, "labels", None)


def labelled_part(split: Split) -> Split:
    """Take the images of ``split`` that have a label, where only some do (-1: none).

    A split of which all images or none have a label is returned as it is.
    """
    if split.has_labels or split.label_shape or not split.num_classes:
        return split
    known = np.flatnonzero(labels_of(split) >= 0)
    if not known.size:
        return split
    once.tell(
        f"{split.name}:{split.split}: {known.size} of {split.num_examples} images have "
        "a label; protocols and classifiers use those"
    )
    part = take(split, known, name=f"{split.split} ({known.size} labelled)")
    return dataclasses.replace(part, has_labels=True)


def labels_of(split: Split) -> np.ndarray:
    """Read all labels in index order, int64 [n]; no image is decoded."""
    known = stored_labels(split.source)
    if known is not None:
        return known
    dataset = split.as_dataset().map(lambda e: e["label"])
    return np.array(list(dataset.as_numpy_iterator()), np.int64)
