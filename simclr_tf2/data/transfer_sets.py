"""The twelve data sets of SimCLR's transfer, and what the paper reached on them."""

from __future__ import annotations

from dataclasses import dataclass

METRICS = {
    "top1": "top-1",
    "mean_per_class": "mean/class",
    "map11": "11-pt mAP",
}


@dataclass(frozen=True, kw_only=True)
class TransferSet:
    """One of the paper's data sets for transfer.

    Attributes:
        name: As ``TRANSFER_SETS`` lists it.
        title: As the paper writes it.
        dataset: TFDS name with the config of the paper's split; None where TFDS does
            not have it, so that it must be a folder of the user's.
        train: TFDS split to fit on.
        validation: To choose settings on; a fixed slice of train where TFDS has none
            [ours: the last fifth].
        test: To report on.
        metric: In ``METRICS``.
        label_key: TFDS feature with the labels.
    """

    name: str
    title: str
    dataset: str | None
    metric: str = "top1"
    train: str = "train[:80%]"
    validation: str = "train[80%:]"
    test: str = "test"
    label_key: str = "label"


_OWN = {"train": "train", "validation": "validation"}
_PER_CLASS = "mean_per_class"

# SimCLR, appendix B.8.1. TFDS draws the 30 training images of
# each class of Caltech-101 itself; its split of DTD is the first of the ten; its SUN397
# comes reduced to 120,000 pixels; the test split of Food-101 is called "validation".
TRANSFER_SETS: dict[str, TransferSet] = {
    found.name: found
    for found in (
        TransferSet(
            name="food101",
            title="Food-101",
            dataset="food101",
            test="validation",
        ),
        TransferSet(name="cifar10", title="CIFAR-10", dataset="cifar10"),
        TransferSet(name="cifar100", title="CIFAR-100", dataset="cifar100"),
        TransferSet(name="birdsnap", title="Birdsnap", dataset=None),
        TransferSet(
            name="sun397",
            title="SUN397",
            dataset="sun397/standard-part1-120k",
        ),
        TransferSet(name="cars", title="Cars", dataset="cars196"),
        TransferSet(
            name="aircraft",
            title="Aircraft",
            dataset=None,
            metric=_PER_CLASS,
        ),
        TransferSet(
            name="voc2007",
            title="VOC2007",
            dataset="voc/2007",
            metric="map11",
            label_key="labels",
            **_OWN,
        ),
        TransferSet(name="dtd", title="DTD", dataset="dtd", **_OWN),
        TransferSet(
            name="pets",
            title="Pets",
            dataset="oxford_iiit_pet",
            metric=_PER_CLASS,
        ),
        TransferSet(
            name="caltech101",
            title="Caltech-101",
            dataset="caltech101",
            metric=_PER_CLASS,
        ),
        TransferSet(
            name="flowers102",
            title="Flowers",
            dataset="oxford_flowers102",
            metric=_PER_CLASS,
            **_OWN,
        ),
    )
}

# SimCLR, table 8: ResNet-50 (4x), in percent, in the order above. Its row of random
# weights could not be read again at its source, so it is not here.
_TABLE = {
    "linear": "76.9 95.3 80.2 48.4 65.9 60.0 61.2 84.2 78.9 89.2 93.9 95.0",
    "finetune": "89.4 98.6 89.0 78.2 68.1 92.1 87.0 86.6 77.8 92.1 94.1 97.6",
}
PUBLISHED: dict[str, dict[str, float]] = {
    method: {
        name: round(float(value) / 100, 3)
        for name, value in zip(TRANSFER_SETS, row.split(), strict=True)
    }
    for method, row in _TABLE.items()
}
