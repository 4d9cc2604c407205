"""One name for each split, however folders, files and flags spell it."""

import pytest

from simclr_tf2.data import slices, split_names


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("Train2017", "train"),
        ("test_images", "test"),
        ("val-set", "validation"),
        ("unlabeled2017", "unlabeled"),
        ("train_station", None),
        ("contest", None),
        ("trains", None),
        ("2017", None),
        ("", None),
    ],
)
def test_a_folder_is_a_split_by_its_words(folder, split):
    assert split_names.folder_split(folder) == split


@pytest.mark.parametrize(
    ("spec", "known", "expected"),
    [
        ("val", ["train", "validation"], "validation"),
        ("valid[:50%]+test", ["validation", "test"], "validation[:50%]+test"),
        ("validation", ["val"], "val"),
        ("val", ["val", "validation"], "val"),
        ("dev", ["val", "validation"], "dev"),
        ("a", ["train"], "a"),
    ],
)
def test_a_split_is_found_under_its_other_names(spec, known, expected):
    assert split_names.spelled_as(spec, known) == expected


def test_slices_take_val_for_validation():
    (part,) = slices.resolve("val[:50%]", {"train": 8, "validation": 4}, name="x")
    assert (part.split, part.start, part.stop) == ("validation", 0, 2)
