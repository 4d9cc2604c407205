"""Settings of the augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simclr_tf2.config.checks import (
    numbers,
    parse_image_size,
    refusal,
    require,
    require_choice,
    require_fraction,
    require_not_negative,
)
from simclr_tf2.config.modes import PLAN, PRETRAIN, VIEWING
from simclr_tf2.config.settings import SPEED, WEIGHTS, setting

AUGMENT_BACKENDS = ("auto", "numba", "tf")
AUGMENT_PLACES = ("host", "device")
COLOR_JITTER_IMPLS = ("simclrv2", "simclrv1")
MAX_ASPECT = 10  # [ours] of crops; beyond it few fit into a photo
MAX_SIGMA = 100  # [ours] pixels


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Settings of the augmentation (paper section 3 and appendix A)."""

    color_jitter_strength: float = setting(1.0, changes=WEIGHTS, modes=VIEWING)
    # Default with the user's own images: for views of more than 32 pixels
    use_blur: bool = setting(True, changes=WEIGHTS, modes=VIEWING | PLAN)
    # Names as in the reference code, which has no flag for it
    color_jitter_impl: str = setting(
        "simclrv2", changes=WEIGHTS, modes=VIEWING, ours=True
    )
    color_jitter_probability: float = setting(
        0.8, changes=WEIGHTS, modes=VIEWING, ours=True
    )
    grayscale_probability: float = setting(
        0.2, changes=WEIGHTS, modes=VIEWING, ours=True
    )
    blur_probability: float = setting(0.5, changes=WEIGHTS, modes=VIEWING, ours=True)
    blur_sigma: tuple[float, float] = setting(
        (0.1, 2.0), changes=WEIGHTS, modes=VIEWING, ours=True
    )
    # BYOL, arXiv 2006.07733
    solarize_probability: float = setting(
        0.0, changes=WEIGHTS, modes=VIEWING, ours=True
    )
    solarize_threshold: float = setting(0.5, changes=WEIGHTS, modes=VIEWING, ours=True)
    crop_area: tuple[float, float] = setting(
        (0.08, 1.0), changes=WEIGHTS, modes=VIEWING, ours=True
    )
    crop_aspect: tuple[float, float] = setting(
        (3 / 4, 4 / 3), changes=WEIGHTS, modes=VIEWING, ours=True
    )
    flip_probability: float = setting(0.5, changes=WEIGHTS, modes=VIEWING, ours=True)
    vertical_flip_probability: float = setting(
        0.0, changes=WEIGHTS, modes=VIEWING, ours=True
    )
    quarter_turns: bool = setting(False, changes=WEIGHTS, modes=VIEWING, ours=True)
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
        require_choice("color_jitter_impl", self.color_jitter_impl, COLOR_JITTER_IMPLS)
        require_fraction(
            self,
            "color_jitter_probability",
            "grayscale_probability",
            "blur_probability",
            "solarize_probability",
            "solarize_threshold",
            "flip_probability",
            "vertical_flip_probability",
        )
        self._set_range("crop_area", 0.0, 1.0)
        self._set_range("crop_aspect", 0.0, MAX_ASPECT)
        self._set_range("blur_sigma", 0.0, MAX_SIGMA)
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
            self.require_square_if_turned(size, "local_image_size")
        early = _early_sizes(self.early_image_sizes)
        object.__setattr__(self, "early_image_sizes", early)
        require(
            0 < self.early_share < 1,
            "early_share",
            "above 0 and below 1",
            self.early_share,
        )

    def _set_range(self, name: str, above: float, most: float) -> None:
        """Read the setting ``name`` as LEAST,GREATEST, above ``above``."""
        values = getattr(self, name)
        must = (
            f"two numbers, LEAST,GREATEST, greater than {above:g} and at most {most:g}"
        )
        found = numbers(name, values, must)
        ok = len(found) == 2 and above < found[0] <= found[1] <= most
        require(ok, name, must, values)
        object.__setattr__(self, name, found)

    def require_square_if_turned(self, size: Any, name: str) -> None:
        """Refuse ``--quarter_turns`` of views that are not square.

        Args:
            size: Side of the views, or (height, width).
            name: The setting that holds it.

        Raises:
            ConfigError: The height is not the width.
        """
        if self.quarter_turns and not isinstance(size, int) and size[0] != size[1]:
            raise refusal(name, "square with --quarter_turns", f"{size[0]}x{size[1]}")

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
