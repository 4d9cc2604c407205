"""The sizes of views in the course of a training: small ones first, then all of it.

Training on small images first and on larger ones later is known from FFCV-SSL (arXiv
2303.01986, 160 to 224 pixels) and from arXiv 2212.05611.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from simclr_tf2.config import AugmentationConfig
from simclr_tf2.errors import ConfigError


@dataclass(frozen=True)
class SizeStage:
    """Consecutive steps whose views have one size.

    Attributes:
        height_width: Height and width of a view in pixels.
        start: Number of steps before the stage.
        end: Number of the last step of the stage; None: the stage has no end.
    """

    height_width: tuple[int, int]
    start: int
    end: int | None


def check(config: AugmentationConfig, height_width: tuple[int, int]) -> None:
    """Refuse early sizes that do not fit the size of views, ``height_width``.

    Raises:
        ConfigError: Views are not square, an early size is not smaller than them, or a
            local view is not smaller than the smallest early size.
    """
    sizes = config.early_image_sizes
    if not sizes:
        return
    listed = f"--early_image_sizes={','.join(map(str, sizes))}"
    height, width = height_width
    if height != width:
        raise ConfigError(
            f"{listed} needs square views, and --image_size is {height}x{width}; drop "
            "one"
        )
    if sizes[-1] >= height:
        raise ConfigError(f"{listed}: each must be smaller than --image_size={height}")
    local = config.local_size(height_width)
    if config.num_local_views and max(local) >= sizes[0]:
        raise ConfigError(
            f"{listed}: each must be larger than the local views of "
            f"{'x'.join(map(str, local))} pixels; pass larger ones or a smaller "
            "--local_image_size"
        )


def size_stages(
    config: AugmentationConfig,
    height_width: tuple[int, int],
    *,
    lengths: Sequence[tuple[int, int]],
) -> tuple[SizeStage, ...]:
    """Return the stages of a run, in order; stages without a step are left out.

    Each early size has an equal part of ``--early_share`` of the steps, rounded, and
    at least the last step has the full size. If the run was continued with another
    length, steps after that follow the new length, but the size of views never becomes
    smaller again.

    Args:
        config: Holds the early sizes and their share.
        height_width: Size of views after the early part.
        lengths: For each length that the run had, the number of steps done when it
            began, ascending, and the total number of steps; the first is the length at
            the first start.
    """
    early = [(side, side) for side in config.early_image_sizes]

    def ends_at(total: int) -> list[int]:
        part = total * config.early_share
        counts = range(1, len(early) + 1)
        return [min(round(part * n / len(early)), total - 1) for n in counts]

    (_, first), *later = lengths
    ends = ends_at(first)
    for done, total in later:
        ends = [
            end if end < done else max(done, new)
            for end, new in zip(ends, ends_at(total), strict=True)
        ]
    borders = itertools.pairwise([0, *ends, None])
    return tuple(
        SizeStage(size, start or 0, end)
        for size, (start, end) in zip([*early, height_width], borders, strict=True)
        if end is None or end > (start or 0)
    )
