"""Slices and sums of splits, beside Python's own slices of a list."""

import pytest

from simclr_tf2.data import slices
from simclr_tf2.errors import ConfigError

SIZES = {"train": 50, "validation": 4, "all": 7}


def images(spec):
    """(split, number) of each image of ``spec``."""
    parts = slices.resolve(spec, SIZES, name="photos")
    return [(part.split, i) for part in parts for i in range(part.start, part.stop)]


@pytest.mark.parametrize(
    ("spec", "split", "chosen"),
    [
        ("train", "train", slice(None)),
        ("train[:80%]", "train", slice(0, 40)),
        ("train[80%:]", "train", slice(40, 50)),
        ("train[-10%:]", "train", slice(45, 50)),
        ("train[7:11]", "train", slice(7, 11)),
        ("train[-3:]", "train", slice(-3, None)),
        ("train[:33%]", "train", slice(0, 16)),  # 16.5: the nearest even number
        ("val[:50%]", "validation", slice(0, 2)),
        ("all", "all", slice(None)),
        ("all[5:]", "all", slice(5, None)),
    ],
)
def test_a_slice_holds_the_images_of_the_list_slice(spec, split, chosen):
    assert images(spec) == [(split, i) for i in range(SIZES[split])[chosen]]


def test_a_sum_holds_the_images_of_each_part_in_order():
    assert images("train[48:]+val[:25%]+all[6:]") == [
        ("train", 48),
        ("train", 49),
        ("validation", 0),
        ("all", 6),
    ]


def test_the_two_sides_of_a_cut_share_no_image_and_leave_none_out():
    for percent in range(1, 100):
        both = images(f"train[:{percent}%]+train[{percent}%:]")
        assert both == images("train")


def test_a_part_without_images_is_left_out_of_a_sum():
    (part,) = slices.resolve("train[:0]+all", SIZES, name="photos")
    assert part.split == "all" and len(part) == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("test", r"photos has no split 'test'; it has: train \(50\), validation \(4\)"),
        ("train[", "has no split"),
        ("train[:1%]", None),
        ("train[:0]", "photos:train.* holds no images"),
    ],
)
def test_what_names_no_image_is_refused(spec, message):
    if message is None:  # 0.5 images, rounded to none
        message = "holds no images"
    with pytest.raises(ConfigError, match=message):
        slices.resolve(spec, SIZES, name="photos")
