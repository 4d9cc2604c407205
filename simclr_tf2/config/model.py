"""Settings of the network."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import (
    numbers,
    require,
    require_choice,
    require_positive,
)
from simclr_tf2.config.modes import EXPORT, PLANNED, TRAINING
from simclr_tf2.config.settings import WEIGHTS, setting

RESNET_DEPTHS = (10, 18, 34, 50, 101, 152, 200)
NETWORK_STEMS = ("imagenet", "cifar", "stride2")
STEMS = ("auto", *NETWORK_STEMS)
RESNET_D = ("auto", "true", "false")
PROJ_HEAD_MODES = ("none", "linear", "nonlinear")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Settings of the backbone f, the projection head g and the supervised head."""

    resnet_depth: int = setting(50, changes=WEIGHTS, modes=PLANNED)
    width_multiplier: float = setting(1.0, changes=WEIGHTS, modes=PLANNED)
    sk_ratio: float = setting(0.0, changes=WEIGHTS, modes=PLANNED)
    se_ratio: float = setting(0.0, changes=WEIGHTS, modes=PLANNED)
    # Auto: where there are selective kernels (reference)
    resnet_d: str = setting("auto", changes=WEIGHTS, modes=PLANNED, ours=True)
    # The last gamma of a residual block starts at 0 (reference)
    zero_init_residual: bool = setting(True, changes=WEIGHTS, modes=TRAINING, ours=True)
    # Auto: cifar up to 32 px, else imagenet (reference)
    stem: str = setting("auto", changes=WEIGHTS, modes=PLANNED, ours=True)
    # Of the images in [0, 1], for each channel or one for all; empty: not normalized
    normalize_mean: tuple[float, ...] = setting(
        (), changes=WEIGHTS, modes=TRAINING, ours=True
    )
    normalize_std: tuple[float, ...] = setting(
        (), changes=WEIGHTS, modes=TRAINING, ours=True
    )
    batch_norm_decay: float = setting(0.9, changes=WEIGHTS, modes=PLANNED)
    global_bn: bool = setting(True, changes=WEIGHTS, modes=PLANNED)
    proj_head_mode: str = setting("nonlinear", changes=WEIGHTS, modes=PLANNED)
    proj_out_dim: int = setting(128, changes=WEIGHTS, modes=PLANNED)
    num_proj_layers: int = setting(3, changes=WEIGHTS, modes=PLANNED)
    ft_proj_selector: int = setting(0, changes=WEIGHTS, modes=PLANNED | EXPORT)
    zero_init_logits_layer: bool = setting(False, changes=WEIGHTS, modes=PLANNED)
    fine_tune_after_block: int = setting(-1, changes=WEIGHTS, modes=PLANNED)

    def __post_init__(self) -> None:
        require(
            self.resnet_depth in RESNET_DEPTHS,
            "resnet_depth",
            f"one of {', '.join(map(str, RESNET_DEPTHS))}",
            self.resnet_depth,
        )
        require(
            0 < self.width_multiplier <= 16,
            "width_multiplier",
            "greater than 0 and at most 16",
            self.width_multiplier,
        )
        for name in ("sk_ratio", "se_ratio"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "from 0 to 1", value)
        if isinstance(self.resnet_d, bool):
            object.__setattr__(self, "resnet_d", str(self.resnet_d).lower())
        require_choice("resnet_d", self.resnet_d, RESNET_D)
        require_choice("stem", self.stem, STEMS)
        self._check_normalization()
        require(
            0 < self.batch_norm_decay < 1,
            "batch_norm_decay",
            "between 0 and 1",
            self.batch_norm_decay,
        )
        require_choice("proj_head_mode", self.proj_head_mode, PROJ_HEAD_MODES)
        require_positive(self, "proj_out_dim", "num_proj_layers")
        layers = {"none": 0, "linear": 1}.get(self.proj_head_mode, self.num_proj_layers)
        require(
            -1 <= self.ft_proj_selector <= layers,
            "ft_proj_selector",
            f"from -1 to the number of head layers ({layers})",
            self.ft_proj_selector,
        )
        require(
            -1 <= self.fine_tune_after_block <= 4,
            "fine_tune_after_block",
            "from -1 (train all) to 4 (train the head only)",
            self.fine_tune_after_block,
        )

    def _check_normalization(self) -> None:
        """Read means and standard deviations; refuse those of other pixel ranges."""
        for name, least in (("normalize_mean", "0"), ("normalize_std", "above 0")):
            values = getattr(self, name)
            must = (
                f"numbers from {least} to 1 with commas between, one for each channel "
                "or one for all (pixels are in [0, 1])"
            )
            found = numbers(name, values, must)
            zero = 0 in found and name == "normalize_std"
            require(all(0 <= x <= 1 for x in found) and not zero, name, must, values)
            object.__setattr__(self, name, found)
        require(
            len(self.normalize_mean) == len(self.normalize_std),
            "normalize_std",
            f"as many numbers as --normalize_mean ({len(self.normalize_mean)})",
            self.normalize_std,
        )

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation that images are normalized with, if any."""
        if not self.normalize_mean:
            return None
        return self.normalize_mean, self.normalize_std

    @property
    def has_resnet_d(self) -> bool:
        """Whether stem and shortcuts are those of ResNet-D."""
        return self.sk_ratio > 0 if self.resnet_d == "auto" else self.resnet_d == "true"
