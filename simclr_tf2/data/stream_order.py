"""The order of images that are read from record files: arithmetic, no state.

The images of every file are divided into chunks of neighbours, and each epoch reads
all chunks in a permutation of its own. The images in that sequence are divided evenly
among *lanes*: lane j of L holds rows j B/L to (j+1) B/L of every batch of B. A window
is the images of some consecutive steps. Within it each lane permutes its images, so
that neighbours in a file are spread over the steps of the window.

Everything follows from (seed, step) and the files. The number of lanes follows from
the batch alone, so that the workers change no batch. A worker reads the lanes of its
rows, which is its share if the number of workers divides that of lanes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2.data import order
from simclr_tf2.data.order import BatchPlan

# [ours] Workers up to this number read nothing twice where it divides the batch. With
# more lanes each of them would cut more chunks at the ends of its windows.
LANES = 64


@dataclass(frozen=True, kw_only=True)
class StreamOrder:
    """The images that a worker reads for each window, and the rows that they become.

    Attributes:
        counts: int64 [files], images of each file; the index of an image counts
            through the files.
        plan: The batches, and the rows of them that are this worker's.
        chunk: Neighbouring images that are read together.
        window: Images of all workers whose order is drawn together, roughly: whole
            batches, at least one.
        seed: The run's seed.
    """

    counts: np.ndarray
    plan: BatchPlan
    chunk: int
    window: int
    seed: int

    @functools.cached_property
    def lanes(self) -> int:
        """Equal parts of a batch that are read from files of their own."""
        batch = self.plan.global_batch_size
        divisors = [d for d in range(1, min(LANES, batch) + 1) if batch % d == 0]
        # The one that most numbers of workers divide.
        return max(divisors, key=lambda d: (sum(d % w == 0 for w in divisors), d))

    @property
    def steps_per_window(self) -> int:
        """Steps of every window but the last one of an epoch."""
        steps = max(1, self.window // self.plan.global_batch_size)
        return min(steps, self.plan.steps_per_epoch)

    @property
    def windows_per_epoch(self) -> int:
        """Windows of an epoch."""
        return -(-self.plan.steps_per_epoch // self.steps_per_window)

    def window_of(self, step: int) -> tuple[int, int]:
        """Return the window of a global step, counted from the first epoch on.

        The second value is the number of the window's steps before it.
        """
        epoch, step = divmod(step, self.plan.steps_per_epoch)
        window, before = divmod(step, self.steps_per_window)
        return epoch * self.windows_per_epoch + window, before

    def images_of(self, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the images of a window in the order in which this worker reads them.

        Args:
            window: int64 scalar, counted from the first epoch on.

        Returns:
            int64 [r] indices of images, and bool [r]: whether an image begins a piece,
            consecutive images of one file that are read together.
        """
        epoch, first_step, steps = self._place_of(window)
        width = self.plan.global_batch_size // self.lanes  # rows of a lane in a batch
        lanes = tf.range(*self._own_lanes(), dtype=tf.int64)
        lane_length = self.plan.steps_per_epoch * width
        begins = lanes * lane_length + first_step * width
        place = begins[:, tf.newaxis] + tf.range(steps * width)[tf.newaxis]
        place = tf.reshape(place, [-1])
        first, size = self._chunks_of(epoch)
        ends = tf.cumsum(size)
        chunk = tf.searchsorted(ends, place, side="right", out_type=tf.int64)
        into = place - tf.gather(ends - size, chunk)
        goes_on = (chunk[1:] == chunk[:-1]) & (place[1:] == place[:-1] + 1)
        begins_piece = tf.concat([[True], ~goes_on], 0)
        return tf.gather(first, chunk) + into, begins_piece

    def rows_of(self, window: tf.Tensor) -> tf.Tensor:
        """Return which of ``images_of`` this worker's rows of the window are.

        Returns:
            int64 [steps * plan.per_worker] places in the order of reading, by step.
        """
        epoch, _, steps = self._place_of(window)
        width = self.plan.global_batch_size // self.lanes
        low, high = self._own_lanes()
        lanes = tf.range(low, high, dtype=tf.int64)
        drawn = order.window_order(
            self.seed,
            epoch,
            window % self.windows_per_epoch,
            lanes=lanes,
            size=steps * width,
        )
        places = drawn + (lanes - low)[:, tf.newaxis] * steps * width
        places = tf.reshape(places, [high - low, steps, width])
        places = tf.reshape(tf.transpose(places, [1, 0, 2]), [steps, -1])
        begin = self.plan.first_row - low * width
        return tf.reshape(places[:, begin : begin + self.plan.per_worker], [-1])

    def epoch_of(self, window: tf.Tensor) -> tf.Tensor:
        """Return the epoch of a window, int64 scalar."""
        return window // self.windows_per_epoch

    def _own_lanes(self) -> tuple[int, int]:
        """Return the first lane that holds rows of this worker, and the one behind."""
        width = self.plan.global_batch_size // self.lanes
        end = self.plan.first_row + self.plan.per_worker
        return self.plan.first_row // width, -(-end // width)

    def _place_of(self, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return epoch, first step in the epoch and number of steps of a window."""
        first = window % self.windows_per_epoch * self.steps_per_window
        steps = tf.minimum(self.plan.steps_per_epoch - first, self.steps_per_window)
        return self.epoch_of(window), first, steps

    @functools.cached_property
    def _slots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each chunk's number in its file, and the file's first image and count.

        A file has one chunk more than its images fill, for chunks that begin before
        its first image.
        """
        chunks = -(-self.counts // self.chunk) + 1
        file = np.repeat(np.arange(len(self.counts)), chunks)
        number = np.arange(len(file)) - (np.cumsum(chunks) - chunks)[file]
        first = np.cumsum(self.counts) - self.counts
        return number, first[file], self.counts[file]

    def _chunks_of(self, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return first image and size of the chunks of an epoch, in its order, int64.

        Where the chunks of a file begin changes by epoch, and so do an image's
        neighbours; the first and the last chunk of a file are then smaller or empty.
        """
        number, first, count = self._slots
        size = len(number)
        key = order.order_key(self.seed, epoch)
        drawn = order.permute(tf.range(size, dtype=tf.int64), key=key, size=size)
        shift = order.chunk_shift(self.seed, epoch, self.chunk)
        number, first, count = (tf.gather(x, drawn) for x in (number, first, count))
        low = tf.clip_by_value(number * self.chunk - shift, 0, count)
        high = tf.clip_by_value((number + 1) * self.chunk - shift, 0, count)
        return first + low, high - low
