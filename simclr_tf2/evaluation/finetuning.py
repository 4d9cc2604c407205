"""What random weights reach on the same images, beside a fine-tuned network."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import tensorflow as tf

from simclr_tf2.config import Config, ConfigError
from simclr_tf2.training.labelled import Labelled
from simclr_tf2.training.supervised import train_beside

logger = logging.getLogger(__name__)

BASELINE_ROWS = {
    "random_init": "Random init, same settings",
    "supervised": "Supervised baseline",
}
# From random weights the paper trains twice as long (appendix B.8.1).
LONGER = 2


def check_baselines(config: Config) -> None:
    """Refuse baselines of a run that starts from random weights itself."""
    names = config.evaluation.finetune_baselines
    if names and not config.training.checkpoint:
        raise ConfigError(
            f"--finetune_baselines={','.join(names)} stand beside fine-tuning from a "
            "--checkpoint; pass one, or drop the baselines"
        )


def measure_baseline(
    config: Config, strategy: tf.distribute.Strategy, labelled: Labelled, name: str
) -> dict[str, dict[str, Any]]:
    """Train one of ``BASELINE_ROWS`` in ``baselines/NAME`` of the run, and score it.

    Returns:
        A record, as ``classify`` makes them, without predictions.
    """
    row = BASELINE_ROWS[name]
    logger.info("%s: %s", name, row)
    record = train_beside(baseline_config(config, name), strategy, labelled, row=row)
    return {f"{row}/supervised": record}


def baseline_config(config: Config, name: str) -> Config:
    """The run ``config`` from random weights.

    ``random_init`` changes nothing else: what is frozen stays random. ``supervised``
    trains every layer, with one learning rate, for twice as long.
    """
    assert config.model_dir is not None
    training = dataclasses.replace(config.training, checkpoint=None, monitor_epochs=0)
    model, optimizer = config.model, config.optimizer
    if name == "supervised":
        training = dataclasses.replace(
            training,
            train_epochs=LONGER * training.train_epochs,
            train_steps=LONGER * training.train_steps,
        )
        model = dataclasses.replace(model, fine_tune_after_block=-1)
        optimizer = dataclasses.replace(
            optimizer, head_lr_multiplier=1.0, backbone_lr_multiplier=1.0
        )
    return dataclasses.replace(
        config,
        model_dir=str(Path(config.model_dir) / "baselines" / name),
        training=training,
        model=model,
        optimizer=optimizer,
        evaluation=dataclasses.replace(
            config.evaluation, finetune_baselines=(), eval_name=None
        ),
        export=dataclasses.replace(config.export, export_formats=()),
    )
