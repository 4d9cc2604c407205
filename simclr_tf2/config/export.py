"""Settings of the exports, of embeddings, of predictions and of previews."""

from __future__ import annotations

import re
from dataclasses import dataclass

from simclr_tf2.config.checks import (
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import EMBED, EXPORT, PLAN, PREDICT, SCAN, TRAINING
from simclr_tf2.config.settings import OUTPUT, setting

# Tensors of a network, by the names that its SavedModel has for them.
EXPORT_ENDPOINTS = (
    "initial_conv",
    "initial_max_pool",
    "block_group1",
    "block_group2",
    "block_group3",
    "block_group4",
    "final_avg_pool",
    "proj_head_input",
    "proj_head_output",
)
EMBED_ENDPOINTS = tuple(n for n in EXPORT_ENDPOINTS if n != "proj_head_input")  # is h
EXPORT_FORMATS = (
    "keras",
    "saved_model",
    "keras_uint8",
    "classifier",
    "classifier_saved_model",
)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of the exports, of embeddings, of predictions and of previews."""

    export_formats: tuple[str, ...] = setting(
        ("keras", "saved_model", "classifier", "classifier_saved_model"),
        changes=OUTPUT,
        modes=TRAINING | EXPORT,
        ours=True,
    )
    # Empty: h alone, not in a dict
    export_endpoints: tuple[str, ...] = setting(
        (), changes=OUTPUT, modes=TRAINING | EXPORT, ours=True
    )
    keep_hub_module_max: int = setting(1, changes=OUTPUT, modes=TRAINING | EXPORT)
    # Embed, predict: a folder of images or TFDS name:split
    input: str | None = setting(None, changes=OUTPUT, modes=EMBED | PREDICT, ours=True)
    # Embed: .npz, .csv, .parquet, or a folder for the projector ("h/");
    # predict: .csv, .jsonl or .parquet; plan: .json
    output: str | None = setting(
        None, changes=OUTPUT, modes=EMBED | PREDICT | PLAN, ours=True
    )
    # Embed: final_avg_pool is h, proj_head_output is z
    embed_endpoint: str = setting(
        "final_avg_pool", changes=OUTPUT, modes=EMBED, ours=True
    )
    # Embed: several Parquet files; 0: one
    rows_per_file: int = setting(0, changes=OUTPUT, modes=EMBED, ours=True)
    # Predict: number of classes named for each image
    top_k: int = setting(1, changes=OUTPUT, modes=PREDICT, ours=True)
    # Scan, embed: a .png
    preview: str | None = setting(None, changes=OUTPUT, modes=EMBED | SCAN, ours=True)
    # Embed: image files
    neighbours_of: tuple[str, ...] = setting((), changes=OUTPUT, modes=EMBED, ours=True)
    # Embed: number of similar images per image
    num_neighbours: int = setting(8, changes=OUTPUT, modes=EMBED, ours=True)

    def __post_init__(self) -> None:
        for name in self.export_formats:
            require_choice("export_formats", name, EXPORT_FORMATS)
        for name in self.export_endpoints:
            require_choice("export_endpoints", name, EXPORT_ENDPOINTS)
        require_choice("embed_endpoint", self.embed_endpoint, EMBED_ENDPOINTS)
        require_not_negative(self, "keep_hub_module_max", "rows_per_file")
        require_positive(self, "num_neighbours")
        require_positive(self, "top_k")
        if self.output is not None:
            require(
                re.search(r"\.(npz|csv|parquet|jsonl?)$|/$", self.output) is not None,
                "output",
                "a path that ends in .csv, .parquet, .npz, .jsonl, .json or /",
                self.output,
            )
        if self.preview is not None:
            require(
                self.preview.endswith(".png"),
                "preview",
                "a path that ends in .png",
                self.preview,
            )
