"""Causes of TensorFlow errors during training: an image file, or memory."""

from __future__ import annotations

import logging
import re

import tensorflow as tf

from simclr_tf2 import files
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import RunFailed

logger = logging.getLogger(__name__)

# The machine, other processes or a request to stop: a file is not the cause.
NOT_OF_A_FILE = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)
# An input pipeline's errors name the iterator, or the operation that reads it.
OF_THE_INPUT = re.compile(r"Iterator::Root|IteratorGetNext")


def is_of_the_input(error: tf.errors.OpError) -> bool:
    """Return whether ``error`` arose where images are read and decoded."""
    if isinstance(error, NOT_OF_A_FILE):
        return False
    return OF_THE_INPUT.search(error.message or "") is not None


def name_broken_file(
    split: Split, error: tf.errors.OpError, *, alone: bool = True
) -> None:
    """Look for an image file that can no longer be read; reads every one until then.

    Args:
        split: The training images.
        error: What TensorFlow raised.
        alone: Whether this is the only worker. Others would wait during the search, so
            that it is left to ``--mode=scan``.

    Raises:
        RunFailed: There is one, which is named.
    """
    if not alone:
        reason = files.reason(error)
        raise RunFailed(
            f"this worker could not read an image: {reason}. --mode=scan names broken "
            "files; fix or remove them and start the same command on all workers"
        ) from error
    logger.info("the input failed: looking for a file that cannot be read any more")
    broken = split.source.first_broken()
    if broken:
        raise RunFailed(
            f"{broken} cannot be read any more; fix or remove it and start the same "
            "command again: it goes on from the last checkpoint"
        ) from error


def name_lack_of_memory(error: tf.errors.OpError) -> None:
    """Say in one line that the memory of the device did not suffice.

    Raises:
        RunFailed: ``error`` is about memory.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        what = next(iter(re.findall(r"OOM when [^\n]*", error.message or "")), "")
        raise RunFailed(
            f"out of memory{f' ({what[:120]})' if what else ''}: the last checkpoint "
            "is intact. Start in a new --model_dir with a smaller --train_batch_size, "
            "or go on with --remat=blocks"
        ) from error
