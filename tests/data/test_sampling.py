"""What the program picks of a split by itself is a fair sample of it."""

import dataclasses

import numpy as np
import pytest

from simclr_tf2.data import array_files, datasets, order, overlap, pipeline, sampling


@pytest.fixture(scope="module")
def by_class():
    """1,000 images of 100 classes, one class after the other; an image is its place."""
    images = np.zeros([1000, 8, 8, 3], np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(1000), 256)
    return array_files.from_arrays(images, np.repeat(np.arange(100), 10))


def shuffled(split):
    """The same as if it had been shuffled before it was stored."""
    source = dataclasses.replace(split.source, mixed=True)
    return dataclasses.replace(split, source=source)


def test_drawn_ranges_are_disjoint_fixed_and_complete():
    parts = [order.drawn(a, b, 1000) for a, b in ((0, 300), (300, 301), (301, 1000))]
    assert [len(part) for part in parts] == [300, 1, 699]
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(1000))
    np.testing.assert_array_equal(order.drawn(0, 5, 5), np.arange(5))
    # Results of two versions are about the same images.
    assert order.drawn(0, 6, 1000).tolist() == [215, 390, 680, 844, 855, 933]


def test_a_limit_reads_a_sample_in_the_order_of_the_split(by_class):
    rows = sampling.sampled_rows(by_class, 200)
    assert len(set(rows)) == 200 and (np.diff(rows) > 0).all()
    assert len(set(rows // 10)) > 80  # of 100 classes; 89 are expected
    dataset = pipeline.make_eval_dataset(
        by_class, batch_size=64, image_size=8, limit=200
    )
    elements = list(dataset.as_numpy_iterator())
    labels = np.concatenate([e["label"][e["mask"]] for e in elements])
    np.testing.assert_array_equal(labels, rows // 10)
    part = sampling.sample(by_class, 200)
    np.testing.assert_array_equal(part.arrays()[1], rows // 10)


def test_without_a_limit_or_with_a_large_one_it_is_every_image(by_class):
    for limit in (None, 1000, 5000):
        assert sampling.sample(by_class, limit) is by_class


def test_of_a_shuffled_split_the_first_images_are_taken(by_class):
    rows = sampling.sampled_rows(shuffled(by_class), 200)
    np.testing.assert_array_equal(rows, np.arange(200))


def test_bank_and_queries_are_disjoint_and_share_classes(by_class):
    bank, queries = sampling.deal(by_class, 400, 100)
    places = [
        {256 * int(image[0, 0, 0]) + int(image[0, 0, 1]) for image in part.arrays()[0]}
        for part in (bank, queries)
    ]
    assert [len(found) for found in places] == [400, 100]
    assert not places[0] & places[1]
    known = set(bank.arrays()[1])
    assert np.mean([label in known for label in queries.arrays()[1]]) > 0.9
    first, second = sampling.deal(shuffled(by_class), 400, 100)
    np.testing.assert_array_equal(first.arrays()[1], np.repeat(np.arange(40), 10))
    np.testing.assert_array_equal(second.arrays()[1], np.repeat(np.arange(40, 50), 10))


@pytest.mark.parametrize("name", ["tiny_gray", "tiny_sizes"])
def test_what_tfds_has_shuffled_is_taken_from_the_front(data_dir, name):
    split = datasets.open_split(name, "train", data_dir=data_dir)
    stored = [e["image"] for e in split.as_dataset().as_numpy_iterator()]
    assert split.source.mixed
    part = sampling.sample(split, 9)
    found = [e["image"] for e in part.as_dataset().as_numpy_iterator()]
    assert found == stored[:9]


def test_images_of_a_subset_are_known_by_their_place(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    first, second = sampling.deal(split, 12, 6)
    assert overlap.shared_images(split, first) == 12
    assert overlap.shared_images(first, second) == 0
    assert overlap.shared_images(first, sampling.sample(split, 15)) == 12
