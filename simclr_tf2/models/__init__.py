"""Backbones, heads and the SimCLR model."""

from simclr_tf2.models.endpoints import build_endpoints
from simclr_tf2.models.heads import build_projection_head, build_supervised_head
from simclr_tf2.models.layers import FusedBatchNormalization
from simclr_tf2.models.remat import recompute, recomputed
from simclr_tf2.models.resnet import (
    build_encoder,
    build_resnet,
    freeze_up_to_block,
    open_residual_branches,
)
from simclr_tf2.models.simclr import (
    SimCLR,
    build_classifier,
    build_simclr,
    copy_weights,
    export_copy,
    stem_at,
    with_linear_classifier,
)

__all__ = [
    "FusedBatchNormalization",
    "SimCLR",
    "build_classifier",
    "build_encoder",
    "build_endpoints",
    "build_projection_head",
    "build_resnet",
    "build_simclr",
    "build_supervised_head",
    "copy_weights",
    "export_copy",
    "freeze_up_to_block",
    "open_residual_branches",
    "recompute",
    "recomputed",
    "stem_at",
    "with_linear_classifier",
]
