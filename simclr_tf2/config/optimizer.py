"""Settings of the optimizer and the learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import (
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import FINETUNE, PLANNED, TRAINING
from simclr_tf2.config.settings import WEIGHTS, setting

OPTIMIZERS = ("lars", "momentum", "adam", "adamw", "lamb", "muon")
LEARNING_RATE_SCALINGS = ("linear", "sqrt", "none")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Settings of optimizer and learning rate (paper section 2.2, appendix B)."""

    optimizer: str = setting("lars", changes=WEIGHTS, modes=PLANNED)
    learning_rate: float = setting(0.3, changes=WEIGHTS, modes=TRAINING)
    learning_rate_scaling: str = setting("linear", changes=WEIGHTS, modes=TRAINING)
    warmup_epochs: float = setting(10.0, changes=WEIGHTS, modes=TRAINING)
    weight_decay: float = setting(1e-6, changes=WEIGHTS, modes=TRAINING)
    momentum: float = setting(0.9, changes=WEIGHTS, modes=TRAINING)
    # Of the classifier, in finetune
    head_lr_multiplier: float = setting(1.0, changes=WEIGHTS, modes=FINETUNE, ours=True)
    # Of all layers below the classifier, in finetune
    backbone_lr_multiplier: float = setting(
        1.0, changes=WEIGHTS, modes=FINETUNE, ours=True
    )

    def __post_init__(self) -> None:
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice(
            "learning_rate_scaling", self.learning_rate_scaling, LEARNING_RATE_SCALINGS
        )
        require_positive(self, "learning_rate")
        require_not_negative(self, "warmup_epochs", "weight_decay")
        require_positive(self, "head_lr_multiplier", "backbone_lr_multiplier")
        require(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
