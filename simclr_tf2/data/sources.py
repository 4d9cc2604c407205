"""Where the images of a split come from: TFDS, TFRecord files, image files, arrays.

A source knows its images in one fixed order, undecoded where they are encoded. What
trains on them asks for all of them (``examples``), for one (``at``) or for an endless
shuffled stream (``stream``); a source offers at least one of the last two.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from simclr_tf2.data import order, prepare, records

Example = dict[str, tf.Tensor]
Shape = tuple[int | None, int | None, int]


def digest(*parts: object) -> str:
    """Return a short name for the contents of ``parts``."""
    found = hashlib.blake2b(digest_size=12)
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
    return found.hexdigest()


class Source(Protocol):
    """Images and labels of one split, in a fixed order."""

    @property
    def random_access(self) -> bool:
        """Whether ``at`` works; else ``stream`` does."""

    @property
    def mixed(self) -> bool:
        """Whether the order is a shuffled one, so that the first images are a sample.

        Arrays and record files may be sorted by class; what TFDS has prepared is
        shuffled, and image files are in the order of a hash.
        """

    @property
    def num_bytes(self) -> int:
        """Bytes of all images as they are stored."""

    @property
    def fingerprint(self) -> str:
        """Digest that changes with the images: of names and sizes, not all contents."""

    def examples(self) -> tf.data.Dataset:
        """Return a dataset of every image once, in order, as it is stored.

        Its elements are {"image", "label", "index", ...}.
        """

    def at(self, index: tf.Tensor) -> Example:
        """Return one example by its index (int64 scalar), as stored; in a graph."""

    def stream(
        self, plan: order.BatchPlan, *, seed: int, start_step: int
    ) -> tf.data.Dataset:
        """Return endless shuffled examples with "seed", as ``records.stream``."""

    def decode(self, example: Example) -> tf.Tensor:
        """Decode an example to pixels [h, w, c], integers; in a graph."""

    def first_broken(self) -> str | None:
        """Return a file that cannot be read or decoded by now, with why; else None."""


@dataclass(frozen=True)
class RecordSource:
    """Encoded images in record files: TFDS, or TFRecords of tf.Example.

    Attributes:
        shards: The files and which of their records belong to the split.
        read: Makes a dataset of {"image", "label", "index"} in order.
        shape: Of a decoded image.
        reading: What else the labels depend on, beside the keys in ``shards``.
        pixels: ``pixel_range.resolve`` where images have 16 bits; None: 8 bits.
    """

    shards: records.Shards
    read: Callable[[], tf.data.Dataset]
    shape: Shape
    reading: str = ""
    random_access: bool = False
    pixels: str | None = None

    @property
    def mixed(self) -> bool:
        """Whether the records were shuffled before they were written."""
        return self.shards.mixed

    @functools.cached_property
    def num_bytes(self) -> int:
        """Bytes of all images as they are stored."""
        return self.shards.num_bytes()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the files' names and sizes, their records and their labels."""
        shards = self.shards
        sizes = prepare.file_sizes(list(shards.files))
        keys = [self.reading, shards.label_key or "label", shards.image_key]
        usual = ["", "label", "image"]
        return digest(
            shards.files,
            sizes,
            shards.skip.tolist(),
            shards.take.tolist(),
            *(key for key, plain in zip(keys, usual, strict=True) if key != plain),
            *([] if self.pixels is None else [f"pixels {self.pixels}"]),
            *([] if shards.kept is None else [shards.kept.tobytes()]),
        )

    def examples(self) -> tf.data.Dataset:
        """Return a dataset of every image once, in order."""
        return self.read()

    def at(self, index: tf.Tensor) -> Example:
        """Return one example by its index."""
        raise NotImplementedError("record files are read in order")

    def stream(
        self, plan: order.BatchPlan, *, seed: int, start_step: int
    ) -> tf.data.Dataset:
        """Return a dataset of endless shuffled examples."""
        return records.stream(self.shards, plan, seed=seed, start_step=start_step)

    def decode(self, example: Example) -> tf.Tensor:
        """Decode an example to pixels [h, w, c]."""
        return records.decode(example["image"], self.shape, pixels=self.pixels)

    def first_broken(self) -> str | None:
        """Return what cannot be read by now, with why."""
        for file in self.shards.files:
            try:
                for _ in tf.data.TFRecordDataset(file):
                    pass
            except tf.errors.OpError as error:
                return f"{file!r} ({prepare.one_line(error, width=80)})"
        return None


@dataclass(frozen=True)
class ArraySource:
    """Images that are in memory already.

    Attributes:
        images: uint8 or uint16 [n, h, w, c].
        labels: int64 [n] or [n, l]; -1 for none.
        mixed: Whether their order is a shuffled one.
        places: (container, int64 [k] rows in it) of each part, where they are known.
    """

    images: np.ndarray
    labels: np.ndarray
    random_access: bool = True
    mixed: bool = False
    places: tuple[tuple[str, np.ndarray], ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of all images as they are stored."""
        return self.images.nbytes

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of all contents."""
        return digest(self.images.shape, self.images.tobytes(), self.labels.tobytes())

    @functools.cached_property
    def tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels on the host."""
        with tf.init_scope(), tf.device("/cpu:0"):  # a GPU's memory is for the model
            return tf.constant(self.images), tf.constant(self.labels)

    def examples(self) -> tf.data.Dataset:
        """Return a dataset of every image once, in order."""
        return tf.data.Dataset.range(len(self.labels)).map(self.at)

    def at(self, index: tf.Tensor) -> Example:
        """Return one example by its index."""
        images, labels = self.tensors
        return {
            "image": tf.gather(images, index),
            "label": tf.gather(labels, index),
            "index": index,
        }

    def stream(self, plan: Any, *, seed: int, start_step: int) -> tf.data.Dataset:
        """Return a dataset of endless shuffled examples."""
        raise NotImplementedError("arrays are read by index")

    def decode(self, example: Example) -> tf.Tensor:
        """Return the pixels [h, w, c] of an example."""
        return example["image"]

    def first_broken(self) -> str | None:
        """Return what cannot be read by now, with why."""
        return None
