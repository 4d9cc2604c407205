"""Optimizers, learning-rate schedules, and where weight decay is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras

from simclr_tf2.config import OptimizerConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.optimizers.decoupled import AdamW, Lamb
from simclr_tf2.optimizers.lars import LARS
from simclr_tf2.optimizers.loss_scale import DynamicLossScale, with_loss_scale
from simclr_tf2.optimizers.multipliers import with_multipliers
from simclr_tf2.optimizers.muon import Muon
from simclr_tf2.optimizers.schedules import (
    WarmupCosine,
    scaled_learning_rate,
    total_steps,
    warmup_cosine,
    warmup_steps,
)
from simclr_tf2.optimizers.weight_decay import (
    decay_in_loss,
    decayed_in_loss,
    exclusions,
    l2_loss,
    lars_exclusions,
    variable_roles,
)

SUPERVISED_HEAD = "head_supervised"  # in the paths of its variables

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
Builder = Callable[
    [OptimizerConfig, LearningRate, tuple[str, ...]], keras.optimizers.Optimizer
]


def _lars(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    return LARS(
        learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        exclude_from_weight_decay=exclude,
    )


def _momentum(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(
        learning_rate, momentum=float(config.momentum), nesterov=True, name="sgd"
    )


def _adam(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(learning_rate, name="adam")


def _adamw(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    decay = config.weight_decay
    return AdamW(learning_rate, weight_decay=decay, exclude=exclude, name="adam_w")


def _lamb(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    decay = config.weight_decay
    return Lamb(learning_rate, weight_decay=decay, exclude=exclude, name="lamb")


def _muon(
    config: OptimizerConfig, learning_rate: LearningRate, exclude: tuple[str, ...]
) -> keras.optimizers.Optimizer:
    return Muon(
        learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        exclude=exclude,
        adam=(SUPERVISED_HEAD,),
    )


# Names are given, or Keras would number a second optimizer of the process, and with it
# the variables of its checkpoints.
OPTIMIZERS: dict[str, Builder] = {
    "lars": _lars,
    "momentum": _momentum,
    "adam": _adam,
    "adamw": _adamw,
    "lamb": _lamb,
    "muon": _muon,
}


def build_optimizer(
    config: OptimizerConfig,
    *,
    learning_rate: LearningRate,
    exclude: Sequence[str] = (),
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run.

    Weight decay is applied once, see ``decay_in_loss``: LARS adds it to the gradient,
    AdamW, LAMB and Muon take it off the weight (times learning rate), momentum and Adam
    leave it to the loss, as in the reference code, and do not read
    ``config.weight_decay``.

    Args:
        config: Which optimizer, its momentum (LARS, momentum, Muon) and weight decay.
        learning_rate: A number or a schedule; ``config.learning_rate`` is not read.
        exclude: Regular expressions on ``variable.path``, from ``exclusions``: what
            LARS neither decays nor adapts, what AdamW, LAMB and Muon do not decay.

    Raises:
        ConfigError: No optimizer of that name.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"--optimizer must be one of {', '.join(sorted(OPTIMIZERS))}. "
            f"Received: {config.optimizer!r}."
        )
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        learning_rate = float(learning_rate)
    return OPTIMIZERS[config.optimizer](config, learning_rate, tuple(exclude))


__all__ = [
    "LARS",
    "OPTIMIZERS",
    "AdamW",
    "DynamicLossScale",
    "Lamb",
    "Muon",
    "WarmupCosine",
    "build_optimizer",
    "decay_in_loss",
    "decayed_in_loss",
    "exclusions",
    "l2_loss",
    "lars_exclusions",
    "scaled_learning_rate",
    "total_steps",
    "variable_roles",
    "warmup_cosine",
    "warmup_steps",
    "with_loss_scale",
    "with_multipliers",
]
