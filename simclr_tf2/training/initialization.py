"""Where training starts: the run's newest checkpoint, --checkpoint, or scratch."""

from __future__ import annotations

import logging

import tensorflow as tf

from simclr_tf2 import models, saved_model
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints

logger = logging.getLogger(__name__)


def restore(
    source: str | None,
    checkpoint: tf.train.Checkpoint,
    model: models.SimCLR,
    folder: RunFolder,
    *,
    with_head: bool = True,
) -> int:
    """Resume from the folder, else start from --checkpoint, else from scratch.

    Args:
        source: ``--checkpoint``; None where the model has its weights, or for scratch.
        checkpoint: What a checkpoint of this run holds.
        model: Gets the weights of ``--checkpoint``.
        folder: The run folder.
        with_head: Whether the supervised head must be in ``--checkpoint`` as well.

    Returns:
        Steps done.
    """
    step = checkpoints.restore_newest(checkpoint, folder)
    if step is not None:
        logger.info("resuming from %s at step %d", folder.checkpoint(step), step)
        return step
    if folder.metrics.exists():
        logger.warning(
            "%s was started before but holds no checkpoint yet: starting from step 0",
            folder,
        )
    if source:
        if saved_model.is_reference(source):
            saved_model.load_reference_weights(model, source, with_head=with_head)
        else:
            checkpoints.initialize_weights(model, source, with_head=with_head)
        logger.info("weights initialised from %s", source)
    return 0
