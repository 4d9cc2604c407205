"""Reading sets that exceed memory: shuffled streams of encoded images from shards."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.data import image_files, order, prepare
from simclr_tf2.errors import ConfigError

# Files read at once, record by record in turn. A block of so many files is the unit
# that a resumed run jumps over without reading it.
CYCLE = 16
# Records whose order is drawn together; at most two windows are in memory.
SHUFFLE_WINDOW = 4096
# The same of records that may be sorted by class.
MANY_FILES = 256
WINDOW_BYTES = 1 << 29


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

    @classmethod
    def from_info(
        cls, builder: Any, info: Any, label_key: str | None, image_key: str = "image"
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

    def num_bytes(self) -> int:
        """Return the bytes of the split's records on disk (by each file's share)."""
        sizes = np.array(prepare.file_sizes(list(self.files)))
        return int(np.sum(sizes * self.counts / self.in_file))

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

    In each epoch the files are read in an order of their own, CYCLE at once in turn,
    and records are permuted within windows of SHUFFLE_WINDOW; all is a function of
    (seed, epoch). Files that nobody has shuffled may be sorted by class: of those
    MANY_FILES are read at once, in windows of WINDOW_BYTES. Every worker reads every
    record, undecoded, so that the shares join to the batch of a single worker.
    """
    if shards.file_format != "tfrecord":
        raise ConfigError(
            f"a data set that exceeds memory must be stored as tfrecord; this one is "
            f"{shards.file_format} (prepare it again)"
        )
    per_epoch = plan.steps_per_epoch * plan.global_batch_size
    first_epoch, step = divmod(start_step, plan.steps_per_epoch)

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        begin = tf.where(epoch == first_epoch, step * plan.global_batch_size, 0)
        begin = tf.cast(begin, tf.int64)
        dataset = _epoch_records(shards, epoch, begin=begin, seed=seed)
        dataset = dataset.take(per_epoch - begin).enumerate()
        if plan.num_workers > 1:
            dataset = dataset.filter(
                lambda n, _: (
                    (n % plan.global_batch_size) // plan.per_worker == plan.worker_index
                )
            )
        return dataset.map(lambda _, record: _with_seed(shards, seed, epoch, record))

    return tf.data.Dataset.counter(start=first_epoch).flat_map(read_epoch)


def _with_seed(
    shards: Shards, seed: int, epoch: tf.Tensor, record: tuple[tf.Tensor, tf.Tensor]
) -> dict[str, tf.Tensor]:
    index, serialized = record
    image, label = shards.parse(serialized)
    seeds = order.example_seeds(seed, epoch, index[tf.newaxis])[0]
    return {"image": image, "label": label, "index": index, "seed": seeds}


def _epoch_records(
    shards: Shards, epoch: tf.Tensor, *, begin: tf.Tensor, seed: int
) -> tf.data.Dataset:
    """Read (index, serialised record) of one epoch from place ``begin`` on."""
    count = len(shards.files)
    cycle, window = reading(shards)
    blocks = -(-count // cycle)
    files = order.permute(
        tf.range(count, dtype=tf.int64), key=order.order_key(seed, epoch), size=count
    )
    sizes = tf.pad(tf.gather(shards.counts, files), [[0, blocks * cycle - count]])
    ends = tf.cumsum(tf.reduce_sum(tf.reshape(sizes, [blocks, cycle]), axis=1))
    first = tf.searchsorted(ends, begin[tf.newaxis], side="right", out_type=tf.int64)[0]
    before = tf.where(first > 0, tf.gather(ends, tf.maximum(first - 1, 0)), 0)

    def read_block(block: tf.Tensor) -> tf.data.Dataset:
        turn = files[block * cycle : (block + 1) * cycle]
        dataset = _read_files(shards, turn, cycle)
        dataset = dataset.batch(window).enumerate()
        return dataset.map(lambda n, batch: _shuffle(seed, epoch, block, n, batch))

    dataset = tf.data.Dataset.range(first, blocks).flat_map(read_block)
    return dataset.prefetch(1).unbatch().skip(begin - before)


def reading(shards: Shards) -> tuple[int, int]:
    """Return the files read at once, and the records whose order is drawn together."""
    if shards.mixed:
        return CYCLE, SHUFFLE_WINDOW
    count = int(shards.counts.sum())
    held = WINDOW_BYTES * count // max(1, shards.num_bytes())
    window = max(SHUFFLE_WINDOW, min(held, count))
    return max(1, min(MANY_FILES, len(shards.files))), window


def first_labels(shards: Shards, *, seed: int) -> np.ndarray:
    """Read labels of the first window that training reads, int64 [n]; -1 for none."""
    _, window = reading(shards)
    begin = tf.constant(0, tf.int64)
    first = _epoch_records(shards, tf.constant(0, tf.int64), begin=begin, seed=seed)
    first = first.take(window).map(lambda _, record: shards.parse(record)[1])
    return np.array(list(first.as_numpy_iterator()), np.int64)


def _read_files(shards: Shards, files: tf.Tensor, cycle: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(files).interleave(
        shards.read_file,
        cycle_length=cycle,
        block_length=1,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _shuffle(
    seed: int,
    epoch: tf.Tensor,
    block: tf.Tensor,
    window: tf.Tensor,
    batch: tuple[tf.Tensor, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    key = order.window_seed(seed, epoch, block * (1 << 32) + window)
    places = tf.random.experimental.stateless_shuffle(
        tf.range(tf.shape(batch[0])[0]), seed=key
    )
    return tf.gather(batch[0], places), tf.gather(batch[1], places)
