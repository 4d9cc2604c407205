"""Settings of the contrastive loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simclr_tf2.config.checks import (
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import PLAN, PRETRAIN
from simclr_tf2.config.settings import SPEED, WEIGHTS, setting
from simclr_tf2.errors import ConfigError

LOSSES = ("nt_xent", "nt_logistic", "margin")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Settings of the contrastive loss (paper section 2.1)."""

    # The reference has one loss
    loss: str = setting("nt_xent", changes=WEIGHTS, modes=PRETRAIN | PLAN, ours=True)
    temperature: float = setting(0.1, changes=WEIGHTS, modes=PRETRAIN)
    hidden_norm: bool = setting(True, changes=WEIGHTS, modes=PRETRAIN)
    # One of the paper's grid (table 4)
    margin: float = setting(0.8, changes=WEIGHTS, modes=PRETRAIN, ours=True)
    # Of nt_logistic and margin: which negatives are used
    semi_hard: bool = setting(False, changes=WEIGHTS, modes=PRETRAIN, ours=True)
    # Of nt_xent: off, auto or a number of rows
    loss_block_size: str | int = setting(
        "auto", changes=SPEED, modes=PRETRAIN | PLAN, ours=True
    )

    def __post_init__(self) -> None:
        require_choice("loss", self.loss, LOSSES)
        require_positive(self, "temperature")
        object.__setattr__(self, "loss_block_size", _block_size(self.loss_block_size))
        require_not_negative(self, "margin")
        if self.semi_hard and self.loss == "nt_xent":
            raise ConfigError(
                "--semi_hard chooses negatives of --loss=nt_logistic or margin; "
                "nt_xent uses all of them"
            )
        if self.semi_hard and self.loss == "margin" and self.margin == 0:
            raise ConfigError(
                "--margin must be greater than 0 with --semi_hard: no negative lies in "
                "a margin of 0, so that the loss would always be 0."
            )

    @property
    def block_rows(self) -> str | int | None:
        """Rows of a block of the similarity matrix, or auto; None: all rows at once."""
        return None if self.loss_block_size == "off" else self.loss_block_size


def _block_size(value: Any) -> str | int:
    """Read ``auto``, ``off`` or a number of rows of at least 1."""
    text = str(value)
    ok = text in ("auto", "off") or (text.isdigit() and int(text) > 0)
    require(ok, "loss_block_size", "auto, off or a number of rows", value)
    return int(text) if text.isdigit() else text
