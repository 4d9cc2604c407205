"""Settings of training: length, batch, memory, checkpoints, logs."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import (
    auto_or_count,
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import (
    EXPORT,
    FINETUNE,
    MEASURING,
    PLAN,
    PLANNED,
    PRETRAIN,
    READING,
    TRAINING,
)
from simclr_tf2.config.settings import MEASUREMENT, OUTPUT, SPEED, WEIGHTS, setting

MIXED_PRECISION = ("off", "bfloat16", "float16", "auto")
REMAT = ("off", "blocks", "groups")
MICRO_BATCH_NORMS = ("micro", "frozen")
PROGRESS = ("auto", "bar", "plain", "none")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of training: length, batch, memory, checkpoints, logs."""

    train_batch_size: int = setting(512, changes=WEIGHTS, modes=PLANNED)
    train_epochs: float = setting(100.0, changes=WEIGHTS, modes=PLANNED)
    train_steps: int = setting(0, changes=WEIGHTS, modes=PLANNED)
    lineareval_while_pretraining: bool = setting(
        True, changes=WEIGHTS, modes=PRETRAIN | PLAN
    )
    mixed_precision: str = setting("off", changes=WEIGHTS, modes=PLANNED, ours=True)
    jit_compile: bool = setting(False, changes=SPEED, modes=TRAINING, ours=True)
    # The reference code: all steps until a checkpoint
    steps_per_loop: str | int = setting(
        "auto", changes=SPEED, modes=TRAINING, ours=True
    )
    # Recompute activations (arXiv 1604.06174)
    remat: str = setting("off", changes=SPEED, modes=PLANNED, ours=True)
    checkpoint: str | None = setting(
        None, changes=WEIGHTS, modes=TRAINING | EXPORT | READING
    )
    extend: bool = setting(False, changes=OUTPUT, modes=TRAINING, ours=True)
    checkpoint_epochs: float = setting(1.0, changes=OUTPUT, modes=TRAINING)
    checkpoint_steps: int = setting(0, changes=OUTPUT, modes=TRAINING)
    keep_checkpoint_max: int = setting(5, changes=OUTPUT, modes=TRAINING)
    log_steps: int = setting(50, changes=OUTPUT, modes=TRAINING, ours=True)
    # Online kNN and collapse metrics
    monitor_epochs: float = setting(1.0, changes=MEASUREMENT, modes=TRAINING, ours=True)
    # Fraction of the training images that is held out
    finetune_validation: float = setting(
        0.0, changes=WEIGHTS, modes=FINETUNE | PLAN, ours=True
    )
    # Evaluation shows no progress, but accepts the flag without a warning
    progress: str = setting("auto", changes=OUTPUT, modes=MEASURING, ours=True)
    # Deterministic TensorFlow operations
    deterministic: bool = setting(False, changes=WEIGHTS, modes=TRAINING, ours=True)
    # Cached gradients (arXiv 2101.06983); 0: off
    micro_batch_size: int = setting(
        0, changes=WEIGHTS, modes=PRETRAIN | PLAN, ours=True
    )
    micro_batch_norm: str = setting("micro", changes=WEIGHTS, modes=PRETRAIN, ours=True)
    # Decay of the averages of the weights that are evaluated and exported; 0: off
    weights_ema: float = setting(0.0, changes=WEIGHTS, modes=PLANNED, ours=True)

    def __post_init__(self) -> None:
        require(
            self.train_batch_size >= 2,
            "train_batch_size",
            "2 or more (a pair needs negatives)",
            self.train_batch_size,
        )
        require_not_negative(
            self,
            "train_steps",
            "checkpoint_steps",
            "checkpoint_epochs",
            "train_epochs",
            "monitor_epochs",
        )
        require(
            self.train_steps > 0 or self.train_epochs > 0,
            "train_epochs",
            "greater than 0 unless --train_steps is given",
            self.train_epochs,
        )
        require_choice("mixed_precision", self.mixed_precision, MIXED_PRECISION)
        require_choice("remat", self.remat, REMAT)
        steps = auto_or_count("steps_per_loop", self.steps_per_loop)
        object.__setattr__(self, "steps_per_loop", steps)
        require_positive(self, "keep_checkpoint_max", "log_steps")
        require_choice("progress", self.progress, PROGRESS)
        require_choice("micro_batch_norm", self.micro_batch_norm, MICRO_BATCH_NORMS)
        require_not_negative(self, "micro_batch_size")
        require(
            0 <= self.weights_ema < 1,
            "weights_ema",
            "from 0 (off) to below 1",
            self.weights_ema,
        )
        require(
            0 <= self.finetune_validation <= 0.5,
            "finetune_validation",
            "from 0 (none) to 0.5",
            self.finetune_validation,
        )
