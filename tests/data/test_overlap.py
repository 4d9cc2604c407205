"""Images that two splits share, in every kind of storage."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import DataConfig
from simclr_tf2.data import array_files, datasets, opening, overlap


def shared(data, first, second):
    return overlap.shared_images(
        opening.open_split(data, first), opening.open_split(data, second)
    )


CASES = [
    ("train[:7]", "train[5:9]", 2),
    ("train[:5]", "train[5:]", 0),
    ("train", "test", 0),
    ("train[:3]+test[:2]", "test[1:3]+train[2:4]", 2),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same 12 + 4 images as an array file and as a folder; and a TFDS set."""
    folder = tmp_path_factory.mktemp("overlap")
    pixels = np.random.default_rng(0).integers(0, 255, [16, 9, 9, 3], np.uint8)
    np.savez(folder / "a.npz", train_images=pixels[:12], test_images=pixels[12:])
    for i, image in enumerate(pixels):
        place = folder / "photos" / ("train" if i < 12 else "test") / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    return folder


@pytest.mark.parametrize(("first", "second", "count"), CASES)
def test_places_in_an_array_file(places, first, second, count):
    data = DataConfig(dataset=str(places / "a.npz"))
    assert shared(data, first, second) == count


@pytest.mark.parametrize(("first", "second", "count"), CASES)
def test_image_files(places, first, second, count):
    data = DataConfig(image_dir=str(places / "photos"), data_dir=str(places / "data"))
    assert shared(data, first, second) == count


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [*CASES, ("test[400:]", "test[:450]", 50), ("train[:50%]", "train", 500)],
)
def test_records_of_tfds(tmp_path_factory, first, second, count):
    place = tmp_path_factory.getbasetemp() / "overlap_shapes"
    datasets.open_split("simclr_shapes/tiny", "train", data_dir=str(place))
    data = DataConfig(dataset="simclr_shapes/tiny", data_dir=str(place))
    total = opening.open_split(data, "train").num_examples
    if first == "train[:50%]":
        count = total // 2
    assert shared(data, first, second) == count


def test_arrays_that_were_handed_over_are_not_known_to_be_the_same():
    images = np.zeros([5, 8, 8, 1], np.uint8)
    split = array_files.from_arrays(images, np.arange(5))
    assert overlap.shared_images(split, split) == 0
