"""Contrastive losses: projections of two views -> scalar."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from simclr_tf2.config import LossConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.losses.blockwise import blockwise_nt_xent, blockwise_nt_xent_and_metrics
from simclr_tf2.losses.margin import margin_triplet, margin_triplet_and_metrics
from simclr_tf2.losses.nt_logistic import nt_logistic, nt_logistic_and_metrics
from simclr_tf2.losses.nt_xent import nt_xent, nt_xent_and_metrics
from simclr_tf2.losses.view_pairs import over_view_pairs

LossFn = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A contrastive loss.

    Attributes:
        function: Projections ``[2n, d]`` -> (loss, metrics); settings by keyword.
        settings: Parameter of ``function`` -> property of ``LossConfig``.
        chance: Settings, images of a global batch -> loss where all similarities are 0.
        chance_formula: The same as a formula, for the log.
    """

    function: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]
    settings: Mapping[str, str]
    chance: Callable[[LossConfig, int], float]
    chance_formula: str


LOSSES = {
    "nt_xent": Loss(
        function=blockwise_nt_xent_and_metrics,
        settings={
            "temperature": "temperature",
            "normalize": "hidden_norm",
            "block_size": "block_rows",
        },
        chance=lambda _, batch: math.log(2 * batch - 1),
        chance_formula="ln(2N-1)",
    ),
    "nt_logistic": Loss(
        function=nt_logistic_and_metrics,
        settings={
            "temperature": "temperature",
            "normalize": "hidden_norm",
            "semi_hard": "semi_hard",
        },
        chance=lambda *_: 2 * math.log(2),
        chance_formula="2 ln(2)",
    ),
    "margin": Loss(
        function=margin_triplet_and_metrics,
        settings={
            "margin": "margin",
            "normalize": "hidden_norm",
            "semi_hard": "semi_hard",
        },
        chance=lambda config, _: config.margin,
        chance_formula="the margin",
    ),
}


def build_loss(config: LossConfig) -> LossFn:
    """Return a function from projections ``[2n, d]`` to (loss, metrics).

    Args:
        config: Which loss, its temperature or margin, whether rows are L2-normalised
            and whether negatives are semi-hard.

    Raises:
        ConfigError: No loss of that name.
    """
    found = _named(config)
    options = {name: getattr(config, key) for name, key in found.settings.items()}
    return functools.partial(found.function, **options)


def chance_level(config: LossConfig, *, global_batch_size: int) -> tuple[float, str]:
    """Return the loss when all similarities are 0, and its formula.

    Raises:
        ConfigError: No loss of that name.
    """
    found = _named(config)
    return found.chance(config, global_batch_size), found.chance_formula


def _named(config: LossConfig) -> Loss:
    if config.loss not in LOSSES:
        raise ConfigError(
            f"--loss must be one of {', '.join(sorted(LOSSES))}. "
            f"Received: {config.loss!r}."
        )
    return LOSSES[config.loss]


__all__ = [
    "LOSSES",
    "Loss",
    "LossFn",
    "blockwise_nt_xent",
    "blockwise_nt_xent_and_metrics",
    "build_loss",
    "chance_level",
    "margin_triplet",
    "margin_triplet_and_metrics",
    "nt_logistic",
    "nt_logistic_and_metrics",
    "nt_xent",
    "nt_xent_and_metrics",
    "over_view_pairs",
]
