"""Settings of the exports, of ``--mode=embed`` and of previews."""

from __future__ import annotations

import re
from dataclasses import dataclass

from simclr_tf2.config.checks import (
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import EMBED, EXPORT, PLAN, SCAN, TRAINING
from simclr_tf2.config.settings import OUTPUT, setting

EXPORT_FORMATS = ("keras", "saved_model", "keras_uint8")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of the exports, of ``--mode=embed`` and of previews."""

    export_formats: tuple[str, ...] = setting(
        ("keras", "saved_model"), changes=OUTPUT, modes=TRAINING | EXPORT, ours=True
    )
    keep_hub_module_max: int = setting(1, changes=OUTPUT, modes=TRAINING | EXPORT)
    # Embed: a folder of images or TFDS name:split
    input: str | None = setting(None, changes=OUTPUT, modes=EMBED, ours=True)
    # Embed: .npz, .csv or .parquet; plan: .json
    output: str | None = setting(None, changes=OUTPUT, modes=EMBED | PLAN, ours=True)
    # Scan, embed: a .png
    preview: str | None = setting(None, changes=OUTPUT, modes=EMBED | SCAN, ours=True)
    # Embed: image files
    neighbours_of: tuple[str, ...] = setting((), changes=OUTPUT, modes=EMBED, ours=True)
    # Embed: number of similar images per image
    num_neighbours: int = setting(8, changes=OUTPUT, modes=EMBED, ours=True)

    def __post_init__(self) -> None:
        for name in self.export_formats:
            require_choice("export_formats", name, EXPORT_FORMATS)
        require_not_negative(self, "keep_hub_module_max")
        require_positive(self, "num_neighbours")
        if self.output is not None:
            require(
                re.search(r"\.(npz|csv|parquet|json)$", self.output) is not None,
                "output",
                "a path that ends in .npz, .csv or .parquet (--mode=plan: .json)",
                self.output,
            )
        if self.preview is not None:
            require(
                self.preview.endswith(".png"),
                "preview",
                "a path that ends in .png",
                self.preview,
            )
