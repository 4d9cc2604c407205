"""Settings of the augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simclr_tf2.config.checks import (
    parse_image_size,
    require,
    require_choice,
    require_not_negative,
)
from simclr_tf2.config.modes import PLAN, PRETRAIN, VIEWING
from simclr_tf2.config.settings import SPEED, WEIGHTS, setting

AUGMENT_BACKENDS = ("auto", "numba", "tf")
AUGMENT_PLACES = ("host", "device")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Settings of the augmentation (paper section 3 and appendix A)."""

    color_jitter_strength: float = setting(1.0, changes=WEIGHTS, modes=VIEWING)
    # Default with the user's own images: for views of more than 32 pixels
    use_blur: bool = setting(True, changes=WEIGHTS, modes=VIEWING | PLAN)
    num_views: int = setting(2, changes=WEIGHTS, modes=VIEWING | PLAN, ours=True)
    # Multi-crop, arXiv 2006.09882
    num_local_views: int = setting(0, changes=WEIGHTS, modes=VIEWING | PLAN, ours=True)
    # None: 3/7 of a view
    local_image_size: int | tuple[int, int] | None = setting(
        None, changes=WEIGHTS, modes=VIEWING | PLAN, ours=True
    )
    # Growing resolution, arXiv 2303.01986
    early_image_sizes: tuple[int, ...] = setting(
        (), changes=WEIGHTS, modes=PRETRAIN | PLAN, ours=True
    )
    early_share: float = setting(0.5, changes=WEIGHTS, modes=PRETRAIN | PLAN, ours=True)
    augment_backend: str = setting("auto", changes=SPEED, modes=VIEWING, ours=True)
    augment_on: str = setting("host", changes=SPEED, modes=VIEWING, ours=True)

    def __post_init__(self) -> None:
        require_not_negative(self, "color_jitter_strength")
        require_choice("augment_backend", self.augment_backend, AUGMENT_BACKENDS)
        require_choice("augment_on", self.augment_on, AUGMENT_PLACES)
        require(2 <= self.num_views <= 16, "num_views", "2 to 16", self.num_views)
        require(
            0 <= self.num_local_views <= 16,
            "num_local_views",
            "0 to 16",
            self.num_local_views,
        )
        if self.local_image_size is not None:
            size = parse_image_size(self.local_image_size, "local_image_size")
            object.__setattr__(self, "local_image_size", size)
        early = _early_sizes(self.early_image_sizes)
        object.__setattr__(self, "early_image_sizes", early)
        require(
            0 < self.early_share < 1,
            "early_share",
            "above 0 and below 1",
            self.early_share,
        )

    def local_size(self, height_width: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of a local view, given those of other views.

        By default they are 3/7 of these (96 for 224, as in SwAV, arXiv 2006.09882),
        rounded to a multiple of 4.
        """
        size = self.local_image_size
        if size is None:
            height, width = (max(8, 4 * round(s * 3 / 28)) for s in height_width)
            return height, width
        return (size, size) if isinstance(size, int) else size


def _early_sizes(values: Sequence[Any]) -> tuple[int, ...]:
    """Read ascending sides of views, also from text."""
    texts = [str(value).strip() for value in values]
    sides = [int(text) if text.isdecimal() else 0 for text in texts]
    require(
        all(8 <= side <= 1024 for side in sides)
        and all(first < second for first, second in itertools.pairwise(sides)),
        "early_image_sizes",
        "whole numbers of pixels that ascend, from 8 to 1024",
        texts,
    )
    return tuple(sides)
