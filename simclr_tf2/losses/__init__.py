"""Contrastive losses: projections of two views -> scalar."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from simclr_tf2.config import ConfigError, LossConfig
from simclr_tf2.losses.nt_xent import nt_xent, nt_xent_and_metrics

LossFn = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]

LOSSES: dict[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]] = {
    "nt_xent": nt_xent_and_metrics,
}


def build_loss(config: LossConfig) -> LossFn:
    """Returns a function from projections ``[2n, d]`` to (loss, metrics).

    Args:
        config: Which loss, its temperature, and whether rows are L2-normalised.

    Raises:
        ConfigError: No loss of that name.
    """
    if config.loss not in LOSSES:
        raise ConfigError(
            f"--loss must be one of {', '.join(sorted(LOSSES))}. "
            f"Received: {config.loss!r}."
        )
    return functools.partial(
        LOSSES[config.loss],
        temperature=config.temperature,
        normalize=config.hidden_norm,
    )


__all__ = ["LOSSES", "LossFn", "build_loss", "nt_xent", "nt_xent_and_metrics"]
