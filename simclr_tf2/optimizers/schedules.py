"""Learning rate: scaling with the batch, linear warm-up, cosine decay."""

from __future__ import annotations

import logging
import math
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.config import LEARNING_RATE_SCALINGS
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)


def scaled_learning_rate(
    base_learning_rate: float, *, scaling: str, global_batch_size: int
) -> float:
    """Return the peak learning rate for a batch size.

    Args:
        base_learning_rate: The rate before scaling.
        scaling: ``linear``: base * B / 256 (SimCLR, section 2.2); ``sqrt``: base *
            sqrt(B) (appendix B.1, better for B < 2048); ``none``: base.
        global_batch_size: B, images per step over all replicas.

    Raises:
        ConfigError: Another ``scaling``.
    """
    factors = {
        "linear": global_batch_size / 256.0,
        "sqrt": math.sqrt(global_batch_size),
        "none": 1.0,
    }
    if scaling not in factors:
        raise ConfigError(
            "--learning_rate_scaling must be one of "
            f"{', '.join(LEARNING_RATE_SCALINGS)}. Received: {scaling!r}."
        )
    return base_learning_rate * factors[scaling]


def total_steps(
    *, num_examples: int, train_epochs: float, train_steps: int, global_batch_size: int
) -> int:
    """Return how many steps training takes.

    ``train_steps`` if it is not 0, else ``num_examples * train_epochs //
    global_batch_size + 1``, as in the reference code. A fractional product is rounded
    to whole examples first, or 0.29 epochs of 100 examples would be 28.
    """
    if train_steps:
        return int(train_steps)
    return round(num_examples * train_epochs) // global_batch_size + 1


def warmup_steps(
    *, num_examples: int, warmup_epochs: float, global_batch_size: int
) -> int:
    """Return the length of the warm-up in steps, as the reference code rounds it."""
    return round(warmup_epochs * num_examples // global_batch_size)


@keras.saving.register_keras_serializable(package="simclr_tf2")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule linear from 0 over the warm-up, then half a cosine down to 0; stepwise.

    Computed in float32, which counts steps exactly up to 2**24. After ``total_steps``,
    and after a warm-up that is longer than them, the rate is 0.
    """

    def __init__(
        self, peak_learning_rate: float, total_steps: int, warmup_steps: int = 0
    ) -> None:
        """Make a schedule that reaches ``peak_learning_rate`` at ``warmup_steps``."""
        self.peak_learning_rate = peak_learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Return the learning rate of a step, counted from 0; float32 scalar."""
        step = tf.cast(step, tf.float32)
        warmup = float(self.warmup_steps)
        decay_steps = self.total_steps - self.warmup_steps
        if decay_steps > 0:
            done = tf.clip_by_value((step - warmup) / decay_steps, 0.0, 1.0)
            decayed = 0.5 * (1.0 + tf.cos(math.pi * done)) * self.peak_learning_rate
        else:
            decayed = tf.zeros_like(step)
        if not self.warmup_steps:
            return decayed
        rising = step / warmup * self.peak_learning_rate
        return tf.where(step < warmup, rising, decayed)

    def get_config(self) -> dict[str, Any]:
        """Return every argument of the constructor."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }


def warmup_cosine(
    base_learning_rate: float,
    *,
    scaling: str,
    global_batch_size: int,
    num_examples: int,
    train_epochs: float,
    train_steps: int,
    warmup_epochs: float,
) -> WarmupCosine:
    """Return SimCLR's schedule for a data set and a batch size (section 2.2).

    Args:
        base_learning_rate: Before scaling.
        scaling: ``linear``, ``sqrt`` or ``none``, as of ``scaled_learning_rate``.
        global_batch_size: Images per step over all replicas.
        num_examples: Images in the training split.
        train_epochs: Length of training; read if ``train_steps`` is 0.
        train_steps: Length of training in steps, or 0.
        warmup_epochs: Length of the warm-up, counted in epochs also with
            ``train_steps``.
    """
    total = total_steps(
        num_examples=num_examples,
        train_epochs=train_epochs,
        train_steps=train_steps,
        global_batch_size=global_batch_size,
    )
    warmup = warmup_steps(
        num_examples=num_examples,
        warmup_epochs=warmup_epochs,
        global_batch_size=global_batch_size,
    )
    if warmup >= total:
        logger.warning(
            "the warm-up (%d steps) is not shorter than training (%d steps): the "
            "learning rate never decays; lower --warmup_epochs",
            warmup,
            total,
        )
    peak = scaled_learning_rate(
        base_learning_rate, scaling=scaling, global_batch_size=global_batch_size
    )
    return WarmupCosine(peak, total, warmup)
