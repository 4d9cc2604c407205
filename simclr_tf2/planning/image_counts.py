"""Images and classes of public data sets, so that a plan needs none on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simclr_tf2.data import shapes_builder, shapes_scene, slices
from simclr_tf2.errors import ConfigError


@dataclass(frozen=True)
class Known:
    """A split that is known without looking at it.

    Attributes:
        images: Number of images.
        classes: Number of classes; 0 without labels.
        bytes: Mean size of a stored image; 0 if unknown.
        source: Where the number is from.
    """

    images: int
    classes: int
    bytes: int
    source: str


_CATALOG = "catalogue of tensorflow-datasets"
# 138 GB: ILSVRC2012_img_train.tar, as image-net.org offers it
_IMAGENET_BYTES = 138_000_000_000 // 1_281_167
_RAW_32 = 32 * 32 * 3

KNOWN = {
    ("imagenet2012", "train"): Known(1_281_167, 1000, _IMAGENET_BYTES, _CATALOG),
    ("imagenet2012_subset/1pct", "train"): Known(
        12_811, 1000, _IMAGENET_BYTES, _CATALOG
    ),
    ("imagenet2012_subset/10pct", "train"): Known(
        128_116, 1000, _IMAGENET_BYTES, _CATALOG
    ),
    ("imagenet100", "train"): Known(
        126_689, 100, _IMAGENET_BYTES, "issue 21 of HobbitLong/CMC"
    ),
    ("cifar10", "train"): Known(50_000, 10, _RAW_32, _CATALOG),
    ("cifar100", "train"): Known(50_000, 100, _RAW_32, _CATALOG),
    ("fashion_mnist", "train"): Known(60_000, 10, 28 * 28, _CATALOG),
    ("mnist", "train"): Known(60_000, 10, 28 * 28, _CATALOG),
    ("stl10", "unlabelled"): Known(100_000, 0, 96 * 96 * 3, _CATALOG),
    ("stl10", "train"): Known(5_000, 10, 96 * 96 * 3, _CATALOG),
    ("food101", "train"): Known(75_750, 101, 0, _CATALOG),
    ("places365_small", "train"): Known(1_803_460, 365, 0, _CATALOG),
}


def known(dataset: str, split: str) -> Known | None:
    """Return what is known of a split or of a part of one, such as ``train[:20%]``.

    The version of the data set does not count.
    """
    name, of_whole = dataset.partition(":")[0], split.partition("[")[0]
    whole = _of_whole(name, of_whole)
    if whole is None or of_whole == split:
        return whole
    try:
        parts = slices.resolve(split, {of_whole: whole.images}, name=name)
    except ConfigError:  # a sum of splits, or no part of one: the data set knows
        return None
    return replace(whole, images=sum(map(len, parts)))


def _of_whole(name: str, split: str) -> Known | None:
    if name.partition("/")[0] == "simclr_shapes":
        return _of_shapes(name.partition("/")[2], split)
    return KNOWN.get((name, split))


def _of_shapes(variant: str, split: str) -> Known | None:
    """Return the size of a split of the embedded data set, which need not be drawn."""
    for config in shapes_builder.SimclrShapes.BUILDER_CONFIGS:
        if config.name == (variant or "default"):
            counts = {
                "train": config.num_train,
                "test": config.num_test,
                "unlabeled": config.num_unlabeled,
            }
            classes = 0 if split == "unlabeled" else len(shapes_scene.CLASS_NAMES)
            size = config.image_size**2 * 3
            if split in counts:
                return Known(counts[split], classes, size, "embedded data set")
    return None
