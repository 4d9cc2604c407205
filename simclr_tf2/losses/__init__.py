"""Contrastive losses: projections of two views -> scalar."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_tf2.config import LossConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.losses.blockwise import blockwise_nt_xent, blockwise_nt_xent_and_metrics
from simclr_tf2.losses.margin import margin_triplet, margin_triplet_and_metrics
from simclr_tf2.losses.nt_logistic import nt_logistic, nt_logistic_and_metrics
from simclr_tf2.losses.nt_xent import nt_xent, nt_xent_and_metrics
from simclr_tf2.losses.view_pairs import over_view_pairs

LossFn = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]

LOSSES: dict[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]] = {
    "nt_xent": blockwise_nt_xent_and_metrics,
    "nt_logistic": nt_logistic_and_metrics,
    "margin": margin_triplet_and_metrics,
}


def build_loss(config: LossConfig) -> LossFn:
    """Return a function from projections ``[2n, d]`` to (loss, metrics).

    Args:
        config: Which loss, its temperature or margin, whether rows are L2-normalised
            and whether negatives are semi-hard.

    Raises:
        ConfigError: No loss of that name, or one that would always be 0.
    """
    if config.loss not in LOSSES:
        raise ConfigError(
            f"--loss must be one of {', '.join(sorted(LOSSES))}. "
            f"Received: {config.loss!r}."
        )
    return functools.partial(LOSSES[config.loss], **_options(config))


def _options(config: LossConfig) -> dict[str, Any]:
    """Return what the loss of that name takes, by keyword."""
    options: dict[str, Any] = {"normalize": config.hidden_norm}
    if config.loss != "margin":
        options["temperature"] = config.temperature
    if config.loss == "nt_xent":
        size = config.loss_block_size
        return options | {"block_size": None if size == "off" else size}
    chosen = ("margin", "semi_hard") if config.loss == "margin" else ("semi_hard",)
    options |= {name: getattr(config, name) for name in chosen}
    if options.get("semi_hard") and options.get("margin") == 0:
        raise ConfigError(
            "--margin must be greater than 0 with --semi_hard: no negative lies in a "
            "margin of 0, so that the loss would always be 0."
        )
    return options


def chance_level(config: LossConfig, *, global_batch_size: int) -> tuple[float, str]:
    """Return the loss when all similarities are 0 or equal, and its formula."""
    if config.loss == "nt_xent":
        return math.log(2 * global_batch_size - 1), "ln(2N-1)"
    if config.loss == "nt_logistic":
        return 2 * math.log(2), "2 ln(2)"
    return config.margin, "the margin"


__all__ = [
    "LOSSES",
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
