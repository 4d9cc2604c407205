"""scan.json: the record of the image files of a run."""

from __future__ import annotations

from typing import Any

from simclr_tf2 import files
from simclr_tf2.config import Config
from simclr_tf2.data import image_sets, scan_report
from simclr_tf2.data.image_sets import ImageSet
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import flag_file


def summarize(images: ImageSet, pixels: str) -> dict[str, Any]:
    """Return the contents of scan.json; ``pixels`` is ``--pixel_range``."""
    return scan_report.summarize(
        images.listing,
        images.index,
        split_of=images.split_names.tolist(),
        seen=images.seen,
        read_as="" if images.seen is None else images.decide_range(pixels),
    )


def record(config: Config, folder: RunFolder) -> None:
    """Write scan.json, the record of the image files of a run."""
    if config.data.image_dir or config.data.manifest:
        images = image_sets.open_image_set(config.data)
        summary = summarize(images, config.data.pixel_range)
        files.write_json(folder.scan, with_choices(summary, config))


def with_choices(
    summary: dict[str, Any], config: Config, names: frozenset[str] | None = None
) -> dict[str, Any]:
    """Return the contents of scan.json with what the recipe chose as suggestions.

    Args:
        summary: What was found.
        config: The settings, with the chosen values.
        names: The settings that are suggested; None: those that were chosen.
    """
    suggested = {**flag_file.chosen_flags(config, names), **summary["suggested"]}
    return {**summary, "suggested": suggested}
