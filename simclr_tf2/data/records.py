"""Reading sets that exceed memory: shuffled streams of encoded images from files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import places
from simclr_tf2.data import image_files, order, prepare, record_index, stream_order
from simclr_tf2.errors import ConfigError

# To be raised with each change of the order; history.json of a run has it. Version 1,
# until 0.2.0, read 16 files in turn, in windows of 4,096 records.
ORDER_VERSION = 2
CHUNK_BYTES = 1 << 20  # of neighbouring records that are read at once, about
READERS = 16  # chunks that are read at the same time
# A window, whose order is drawn together, has so many records or bytes at least. At
# most two windows are in memory, of all workers together.
SHUFFLE_WINDOW = 4096
WINDOW_BYTES = 1 << 29
# Chunks of a window at least: of records in a mixed order, and of others, which may be
# sorted by class, so that a chunk is of one class.
MIXED_CHUNKS, SORTED_CHUNKS = 256, 2048


@dataclass(frozen=True)
class Spans:
    """Where the images of a split lie in its files.

    Attributes:
        starts: int64 [n], byte of its file at which the record of an image begins.
        ends: int64 [n], byte behind the record.
        places: int64 [n], number of the record among all that ``Shards.take`` counts;
            None where all of these are kept.
    """

    starts: np.ndarray
    ends: np.ndarray
    places: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The files of a split, and which records of each belong to it.

    Attributes:
        files: Paths.
        skip: int64 [files], records at the start of a file that are not in the split.
        take: int64 [files], records that are.
        in_file: int64 [files], all records of the file.
        file_format: TFDS's name of the format.
        label_key: Feature that holds the label, or None.
        image_key: Feature that holds the encoded image.
        mixed: Whether the records were shuffled before they were written.
        kept: bool, of all records that ``take`` counts, in order: which of them belong
            to the split; None: all.
        index_dir: Folder in which the places of the records are kept; None: nowhere.
    """

    files: tuple[str, ...]
    skip: np.ndarray
    take: np.ndarray
    in_file: np.ndarray
    file_format: str
    label_key: str | None
    image_key: str = "image"
    mixed: bool = False
    kept: np.ndarray | None = None
    index_dir: str | None = None

    @classmethod
    def from_info(
        cls,
        builder: Any,
        info: Any,
        label_key: str | None,
        image_key: str = "image",
        *,
        data_dir: str | None = None,
    ) -> Shards:
        """Read the instructions of a TFDS (sub)split."""
        parts = [f for f in info.file_instructions if f.take]
        return cls(
            files=tuple(str(f.filename) for f in parts),
            skip=np.array([f.skip for f in parts], np.int64),
            take=np.array([f.take for f in parts], np.int64),
            in_file=np.array([f.examples_in_shard for f in parts], np.int64),
            file_format=str(builder.info.file_format.value),
            label_key=label_key,
            image_key=image_key,
            mixed=not builder.info.disable_shuffling,
            index_dir=None if data_dir is None else str(places.image_index(data_dir)),
        )

    @property
    def counts(self) -> np.ndarray:
        """Records of each file that belong to the split, int64 [files]."""
        if self.kept is None:
            return self.take
        ends = np.cumsum(self.take)
        before = np.concatenate([[0], np.cumsum(self.kept, dtype=np.int64)])
        kept: np.ndarray = before[ends] - before[ends - self.take]
        return kept

    @functools.cached_property
    def spans(self) -> Spans:
        """Where each image lies; the first use of files reads their records' lengths.

        Raises:
            ConfigError: The files are of another format, damaged, or have another
                number of records than is known of them.
        """
        if self.file_format != "tfrecord":
            raise ConfigError(
                "a data set that exceeds memory must be stored as tfrecord; this one "
                f"is {self.file_format} (prepare it again)"
            )
        found = record_index.boundaries(self.files, folder=self.index_dir)
        for file, bounds, count in zip(self.files, found, self.in_file, strict=True):
            if len(bounds) - 1 != count:
                raise ConfigError(
                    f"{file} has {len(bounds) - 1} records, and {count} were written to"
                    " it; make the file again"
                )
        parts = list(zip(found, self.skip, self.take, strict=True))
        starts = np.concatenate([b[s : s + n] for b, s, n in parts])
        ends = np.concatenate([b[s + 1 : s + n + 1] for b, s, n in parts])
        if self.kept is None:
            return Spans(starts, ends, None)
        return Spans(starts[self.kept], ends[self.kept], np.flatnonzero(self.kept))

    def num_bytes(self) -> int:
        """Return the bytes of the split's records on disk (by each file's share)."""
        sizes = np.array(prepare.file_sizes(list(self.files)))
        return int(np.sum(sizes * self.counts / np.maximum(self.in_file, 1)))

    def read_file(self, file: tf.Tensor) -> tf.data.Dataset:
        """Read one file by its number: (index in the split, serialised record)."""
        dataset = tf.data.TFRecordDataset(tf.gather(list(self.files), file))
        dataset = dataset.skip(tf.gather(self.skip, file))
        dataset = dataset.take(tf.gather(self.take, file))
        offsets = np.cumsum(self.take) - self.take  # index of each file's first record
        dataset = dataset.enumerate(tf.gather(offsets, file))
        if self.kept is None:
            return dataset
        with tf.init_scope(), tf.device("/cpu:0"):
            kept = tf.constant(self.kept)
            index = tf.constant(np.cumsum(self.kept, dtype=np.int64) - 1)
        dataset = dataset.filter(lambda place, _: tf.gather(kept, place))
        return dataset.map(lambda place, record: (tf.gather(index, place), record))

    def in_order(self) -> tf.data.Dataset:
        """Return every image once, file after file: {"image", "label", "index"}."""
        files = tf.data.Dataset.range(len(self.files))

        def example(index: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
            image, label = self.parse(record)
            return {"image": image, "label": label, "index": index}

        return files.flat_map(self.read_file).map(example)

    def example(
        self, index: tf.Tensor, seed: tf.Tensor, record: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Parse a streamed record: {"image", "label", "index", "seed"}."""
        image, label = self.parse(record)
        return {"image": image, "label": label, "index": index, "seed": seed}

    def front(self, fraction: float) -> Shards:
        """Return the first part of each file, at least a record of each."""
        take = np.maximum(1, np.ceil(self.take * fraction)).astype(np.int64)
        front = dataclasses.replace(self, take=np.minimum(take, self.take))
        if self.kept is None:
            return front
        return dataclasses.replace(front, kept=self.kept[self._is_in(front)])

    def places_of(self, front: Shards) -> np.ndarray:
        """Return the index here of each record of ``front(...)``, int64."""
        is_in = self._is_in(front)
        return np.flatnonzero(is_in if self.kept is None else is_in[self.kept])

    def _is_in(self, front: Shards) -> np.ndarray:
        """Return whether each record, ``kept`` or not, is in the first part, bool."""
        begins = np.cumsum(self.take) - self.take
        place = np.arange(self.take.sum()) - np.repeat(begins, self.take)
        inside: np.ndarray = place < np.repeat(front.take, self.take)
        return inside

    def parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Parse a serialised example to (encoded image, label or -1)."""
        wanted = {self.image_key: tf.io.FixedLenFeature([], tf.string)}
        if self.label_key:
            # The default is for a sum of splits, some of which have no labels.
            wanted[self.label_key] = tf.io.FixedLenFeature([], tf.int64, -1)
        example = tf.io.parse_single_example(record, wanted)
        none = tf.constant(-1, tf.int64)
        return example[self.image_key], example.get(self.label_key, none)


def decode(
    image: tf.Tensor,
    shape: tuple[int | None, int | None, int],
    *,
    pixels: str | None = None,
) -> tf.Tensor:
    """Decode an image to uint8 [h, w, c], c of ``shape``; uint16 with ``pixels``.

    With 3 channels gray becomes RGB and alpha is dropped; with 1 colour becomes luma.

    Args:
        image: string scalar.
        shape: Of the result.
        pixels: Range, as ``image_files.decode_wide`` takes it; None decodes to 8 bits.
    """
    if pixels is None:
        decoded = image_files.decode(image, channels=shape[2])
    else:
        decoded = image_files.decode_wide(image, channels=shape[2], pixels=pixels)
    return tf.ensure_shape(decoded, shape)


def stream(
    shards: Shards,
    plan: order.BatchPlan,
    *,
    seed: int,
    start_step: int,
) -> tf.data.Dataset:
    """Stream this worker's rows endlessly: {"image", "label", "index", "seed"} each.

    ``StreamOrder`` says which images these are. Chunks of about CHUNK_BYTES are read
    from all files in a random order, and each worker reads those of its own rows, from
    ``start_step`` on. The encoded images of two windows are in memory at most.
    """
    images = stream_order.StreamOrder(
        counts=shards.counts, plan=plan, seed=seed, **reading(shards)
    )
    read = _reader(shards)
    first_window, steps_before = images.window_of(start_step)

    def read_window(window: tf.Tensor) -> tf.data.Dataset:
        index, begins = images.images_of(window)
        rows = images.rows_of(window)
        before = tf.where(window == first_window, steps_before * plan.per_worker, 0)
        rows = rows[before:]
        first = tf.where(begins)[:, 0]
        size = tf.size(index, tf.int64)
        count = tf.concat([first[1:], [size]], 0) - first
        pieces = tf.data.Dataset.from_tensor_slices((tf.gather(index, first), count))
        stored = pieces.map(read, num_parallel_calls=READERS, deterministic=True)
        stored = stored.unbatch().batch(size)
        index = tf.gather(index, rows)
        seeds = order.example_seeds(seed, images.epoch_of(window), index)
        return stored.map(lambda found: (index, seeds, tf.gather(found, rows)))

    windows = order.count_from(first_window)
    return windows.flat_map(read_window).prefetch(1).unbatch().map(shards.example)


def _reader(shards: Shards) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return how ``count`` images of a file are read from image ``first`` on.

    No byte before the first or after the last one is read. The result is a string
    vector of serialised records.
    """
    spans = shards.spans
    with tf.init_scope(), tf.device("/cpu:0"):
        starts, ends = tf.constant(spans.starts), tf.constant(spans.ends)
        files, last_images = tf.constant(shards.files), np.cumsum(shards.counts)
        places = None if spans.places is None else tf.constant(spans.places)
        kept = None if shards.kept is None else tf.constant(shards.kept)

    def read(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        file = tf.searchsorted(
            last_images, first[tf.newaxis], side="right", out_type=tf.int64
        )
        start = tf.gather(starts, first)
        found = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.gather(files, file),
            compression_type="",
            buffer_size=tf.gather(ends, first + count - 1) - start,
            byte_offsets=start[tf.newaxis],
        )
        dataset = tf.data.experimental.from_variant(found, tf.TensorSpec([], tf.string))
        if kept is not None and places is not None:
            numbered = dataset.enumerate(tf.gather(places, first))
            wanted = numbered.filter(lambda place, _: tf.gather(kept, place))
            dataset = wanted.map(lambda _, record: record)
        dataset = dataset.take(count).batch(count, drop_remainder=True)
        return dataset.get_single_element()

    return read


def reading(shards: Shards) -> dict[str, int]:
    """Return the images of a chunk and of a window, as ``StreamOrder`` takes them.

    The sizes do not depend on the workers, which share a window.
    """
    spans = shards.spans
    count = len(spans.starts)
    kept_bytes = int((spans.ends - spans.starts).sum())
    window = max(SHUFFLE_WINDOW, WINDOW_BYTES * count // kept_bytes)
    window = min(window, count)
    # The bytes between two images that are kept are read with them.
    each = kept_bytes / count * int(shards.take.sum()) / count
    chunks = MIXED_CHUNKS if shards.mixed else SORTED_CHUNKS
    chunk = min(int(CHUNK_BYTES / each), window // chunks)
    return {"chunk": max(1, chunk), "window": window}


def first_labels(shards: Shards, *, seed: int) -> np.ndarray:
    """Read labels of the first window that training reads, int64 [n]; -1 for none."""
    window = reading(shards)["window"]
    plan = order.BatchPlan(
        num_examples=int(shards.counts.sum()), global_batch_size=window
    )
    first = stream(shards, plan, seed=seed, start_step=0).take(window)
    return np.array([int(e["label"]) for e in first.as_numpy_iterator()], np.int64)
