"""Settings of the images: which images are read, and at which size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from simclr_tf2 import places
from simclr_tf2.config.checks import (
    parse_image_size,
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import (
    EVAL,
    EVERY_MODE,
    FINETUNE,
    OPENING,
    PLAN,
    PRETRAIN,
    READING,
)
from simclr_tf2.config.settings import OUTPUT, PLACE, SPEED, WEIGHTS, setting
from simclr_tf2.errors import ConfigError

IMAGE_LAYOUTS = ("auto", "flat", "class", "split_class")
CACHES = ("auto", "encoded", "decoded", "off")
FILE_CHECKS = ("decode", "header")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of the images: which images are read, and at which size."""

    dataset: str = setting("imagenet2012", changes=WEIGHTS, modes=OPENING | PLAN)
    # The next three replace dataset
    image_dir: str | None = setting(
        None, changes=WEIGHTS, modes=OPENING | PLAN, ours=True
    )
    manifest: str | None = setting(
        None, changes=WEIGHTS, modes=OPENING | PLAN, ours=True
    )
    tfrecords: str | None = setting(
        None, changes=WEIGHTS, modes=OPENING | PLAN, ours=True
    )
    image_layout: str = setting(
        "auto", changes=WEIGHTS, modes=OPENING | PLAN, ours=True
    )
    # Columns of manifest
    label_columns: tuple[str, ...] = setting(
        (), changes=WEIGHTS, modes=OPENING | PLAN, ours=True
    )
    image_key: str = setting("image", changes=WEIGHTS, modes=OPENING | PLAN, ours=True)
    label_key: str = setting("label", changes=WEIGHTS, modes=OPENING | PLAN, ours=True)
    # "data" in a checkout, elsewhere the folder of tensorflow-datasets
    data_dir: str = setting(
        places.data_dir(), changes=PLACE, modes=OPENING | READING | PLAN, ours=True
    )
    # The reference code downloads without being asked
    download: bool = setting(False, changes=PLACE, modes=OPENING | READING, ours=True)
    train_split: str = setting("train", changes=WEIGHTS, modes=OPENING | PLAN)
    # None: 0.05 of own images without labels
    valid_size: float | None = setting(
        None, changes=WEIGHTS, modes=PRETRAIN | PLAN, ours=True
    )
    # Fraction of the labels of each class; labels_per_class is a number instead
    label_fraction: float = setting(
        1.0,
        changes=WEIGHTS,
        modes=FINETUNE | EVAL | PLAN,
        protocols=("semi",),
        ours=True,
    )
    labels_per_class: int = setting(
        0, changes=WEIGHTS, modes=FINETUNE | EVAL | PLAN, protocols=("semi",), ours=True
    )
    image_size: int | tuple[int, int] = setting(224, changes=WEIGHTS, modes=EVERY_MODE)
    image_channels: int = setting(
        3, changes=WEIGHTS, modes=OPENING | READING | PLAN, ours=True
    )
    pixel_range: str = setting(
        "auto", changes=WEIGHTS, modes=OPENING | PLAN | READING, ours=True
    )
    cache_dataset: bool = setting(False, changes=SPEED, modes=OPENING)
    cache: str = setting("auto", changes=SPEED, modes=OPENING, ours=True)
    check_files: str = setting(
        "decode", changes=OUTPUT, modes=OPENING | READING | PLAN, ours=True
    )
    max_bad_fraction: float = setting(
        0.01, changes=OUTPUT, modes=OPENING | PLAN, ours=True
    )
    # 400 MB once decoded to RGB
    max_image_pixels: int = setting(
        1 << 27, changes=WEIGHTS, modes=OPENING | READING | PLAN, ours=True
    )
    data_service: str | None = setting(None, changes=SPEED, modes=OPENING, ours=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        object.__setattr__(self, "pixel_range", parse_pixel_range(self.pixel_range))
        require(bool(self.dataset), "dataset", "a data set name", self.dataset)
        for side in self.height_width:
            require(8 <= side <= 1024, "image_size", "8 to 1024 pixels", side)
        given = [n for n in ("image_dir", "manifest", "tfrecords") if getattr(self, n)]
        if len(given) > 1 and given != ["image_dir", "manifest"]:
            raise ConfigError(
                f"--{given[0]} and --{given[1]} both say where the images are; pass one"
            )
        require_choice("image_layout", self.image_layout, IMAGE_LAYOUTS)
        require_choice("cache", self.cache, CACHES)
        require_choice("check_files", self.check_files, FILE_CHECKS)
        require_positive(self, "image_channels", "max_image_pixels")
        require(
            0 <= self.max_bad_fraction <= 1,
            "max_bad_fraction",
            "from 0 to 1",
            self.max_bad_fraction,
        )
        require(
            0 < self.label_fraction <= 1,
            "label_fraction",
            "above 0 and at most 1",
            self.label_fraction,
        )
        require_not_negative(self, "labels_per_class")
        require(
            self.valid_size is None or 0 <= self.valid_size < 1,
            "valid_size",
            "from 0 (none) to below 1",
            self.valid_size,
        )
        if self.labels_per_class and self.label_fraction < 1:
            raise ConfigError(
                "--label_fraction and --labels_per_class both say how many labels are "
                "used; pass one"
            )
        if self.label_columns and not self.manifest:
            raise ConfigError("--label_columns names columns of a --manifest; pass one")
        if self.data_service is not None:
            require(
                re.match(r"(grpc(\+\w+)?)://.+:\d+$", self.data_service) is not None,
                "data_service",
                "an address such as grpc://host:5000",
                self.data_service,
            )

    @property
    def cache_mode(self) -> str:
        """Form in which images are kept in memory; reads ``--cache_dataset`` too."""
        return "encoded" if self.cache_dataset and self.cache == "auto" else self.cache

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of a view."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def source(self) -> str:
        """The name or path by which the user selected the images."""
        return self.manifest or self.image_dir or self.tfrecords or self.dataset

    @property
    def by_name(self) -> bool:
        """Whether the images are a data set selected by name, not the user's files."""
        return not self.own_images and not self.dataset.endswith((".npz", ".npy"))

    @property
    def own_images(self) -> bool:
        """Whether the images are the user's files, which may have no labels."""
        return bool(self.manifest or self.image_dir or self.tfrecords)

    @property
    def array_file(self) -> bool:
        """Whether ``dataset`` is a file of arrays."""
        return not self.own_images and self.dataset.endswith((".npz", ".npy"))


def parse_pixel_range(value: Any) -> str:
    """Read ``auto``, ``full`` or ``LO,HI`` (also as a pair); return it as text.

    Raises:
        ConfigError: ``value`` is none of these, or LO is not below HI.
    """
    if value in ("auto", "full"):
        return str(value)
    parts = value.split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    require(
        math.isfinite(low) and math.isfinite(high) and low < high,
        "pixel_range",
        "auto, full, or LO,HI: the values of black and white (0,4095)",
        value,
    )
    return f"{low:.9g},{high:.9g}"
