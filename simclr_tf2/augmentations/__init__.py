"""Augmentations: tensor -> tensor, explicit seed, one example at a time."""

from simclr_tf2.augmentations.policy import (
    eval_view,
    finetune_view,
    pretrain_view,
    two_views,
)

__all__ = ["eval_view", "finetune_view", "pretrain_view", "two_views"]
