import json

import numpy as np
import pytest

from simclr_tf2.data.label_subset import (
    balanced_subset,
    labels_digest,
    load_subset,
    save_subset,
)
from simclr_tf2.errors import ConfigError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 7, 3, 101]))


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.01, [1, 1, 1, 1]), (0.1, [5, 1, 1, 10]), (0.5, [25, 4, 2, 50]), (1, None)],
)
def test_each_class_gives_its_rounded_share_and_at_least_one(fraction, expected):
    chosen = balanced_subset(LABELS, fraction=fraction, seed=1)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()  # sorted, nothing twice
    counts = np.bincount(LABELS[chosen]).tolist()
    assert counts == (expected or np.bincount(LABELS).tolist())


def test_count_gives_the_same_number_of_every_class():
    chosen = balanced_subset(LABELS, count=3, seed=1)
    assert np.bincount(LABELS[chosen]).tolist() == [3, 3, 3, 3]


def test_the_choice_depends_on_the_seed_and_its_own_class_alone():
    chosen = balanced_subset(LABELS, count=3, seed=1)
    np.testing.assert_array_equal(chosen, balanced_subset(LABELS, count=3, seed=1))
    assert chosen.tolist() != balanced_subset(LABELS, count=3, seed=2).tolist()
    # Images of class 0 become a class of their own; the others keep their choice.
    relabelled = np.where((LABELS == 0) & (np.arange(len(LABELS)) % 2 == 0), 9, LABELS)
    other = balanced_subset(relabelled, count=3, seed=1)
    for label in (1, 2, 3):
        np.testing.assert_array_equal(
            chosen[LABELS[chosen] == label], other[relabelled[other] == label]
        )


def test_a_larger_share_contains_a_smaller_one():
    shares = [set(balanced_subset(LABELS, fraction=f, seed=1)) for f in (0.1, 0.3, 1)]
    assert shares[0] < shares[1] < shares[2]


def test_every_image_of_a_class_is_drawn_equally_often():
    labels = np.repeat([0, 1], [5, 3])
    drawn = np.concatenate(
        [balanced_subset(labels, count=2, seed=seed) for seed in range(600)]
    )
    counts = np.bincount(drawn, minlength=8)
    np.testing.assert_allclose(counts[:5], 600 * 2 / 5, atol=60)
    np.testing.assert_allclose(counts[5:], 600 * 2 / 3, atol=60)


def test_unsigned_labels_are_read_as_they_are():
    np.testing.assert_array_equal(
        balanced_subset(LABELS.astype(np.uint8), count=2, seed=1),
        balanced_subset(LABELS, count=2, seed=1),
    )


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (LABELS, {"count": 4}, "class 2 has 3 labelled image.s., fewer than the 4"),
        (LABELS, {"count": 0}, "must be 1 or more. Received: 0"),
        (LABELS, {"fraction": 0.0}, "above 0, at most 1. Received: 0.0"),
        (LABELS, {"fraction": 1.1}, "above 0, at most 1. Received: 1.1"),
        (LABELS, {"fraction": float("nan")}, "above 0, at most 1. Received: nan"),
        (LABELS, {}, "either a fraction or a count"),
        (LABELS, {"fraction": 0.1, "count": 1}, "either a fraction or a count"),
        (LABELS, {"count": 1, "num_classes": 6}, "2 of 6 classes.*first: class 4"),
        (LABELS, {"count": 1, "num_classes": 3}, "from 0 to 2. Received: 3"),
        (LABELS - 1, {"count": 1}, "50 of 161 images have no label"),
        (LABELS * 0, {"count": 1}, "of one class .label 0."),
        (LABELS[:0], {"count": 1}, "0 of 0 images have no label"),
        (np.eye(3, dtype=int), {"count": 1}, "one whole-number label per image"),
        (LABELS + 0.5, {"count": 1}, "one whole-number label per image"),
    ],
)
def test_bad_input_is_one_clear_line(labels, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        balanced_subset(labels, seed=1, **settings)
    assert "\n" not in str(caught.value)


def test_a_saved_choice_comes_back(tmp_path):
    path = tmp_path / "subset.json"
    chosen = balanced_subset(LABELS, fraction=0.1, seed=1)
    save_subset(path, chosen, LABELS, seed=1, fraction=0.1)
    for asked in ({}, {"seed": 1}, {"seed": 1, "fraction": 0.1}):
        found = load_subset(path, LABELS, **asked)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, chosen)
    assert [p.name for p in tmp_path.iterdir()] == ["subset.json"]
    assert json.loads(path.read_text())["fraction"] == 0.1


def test_a_choice_from_other_labels_is_refused(tmp_path):
    path = tmp_path / "subset.json"
    save_subset(path, balanced_subset(LABELS, count=2, seed=1), LABELS, seed=1, count=2)
    changed = LABELS.copy()
    changed[0] = (changed[0] + 1) % 4
    for labels in (changed, LABELS[::-1], LABELS[:-1]):
        with pytest.raises(ConfigError, match="drawn from another data set"):
            load_subset(path, labels)
    np.testing.assert_array_equal(  # another integer type is the same data
        load_subset(path, LABELS.astype(np.int32)), load_subset(path, LABELS)
    )


@pytest.mark.parametrize(
    "asked", [{"seed": 2}, {"fraction": 0.1}, {"count": 3}, {"seed": 2, "count": 2}]
)
def test_a_choice_drawn_otherwise_than_asked_is_refused(tmp_path, asked):
    path = tmp_path / "subset.json"
    save_subset(path, balanced_subset(LABELS, count=2, seed=1), LABELS, seed=1, count=2)
    with pytest.raises(ConfigError, match="drawn with seed 1, fraction None, count 2"):
        load_subset(path, LABELS, **asked)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"indices": [1]}', '{"examples": 3', "null"]
)
def test_a_file_that_is_no_subset_is_refused(tmp_path, text):
    path = tmp_path / "subset.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a saved subset"):
        load_subset(path, LABELS)
    with pytest.raises(ConfigError, match="cannot read the subset"):
        load_subset(tmp_path / "absent.json", LABELS)


@pytest.mark.parametrize(
    "indices", [[], [3, 3], [5, 2], [-1, 2], [0, 161], [0.5, 1], ["a"], [[1], [2]]]
)
def test_indices_that_someone_edited_are_refused(tmp_path, indices):
    path = tmp_path / "subset.json"
    save_subset(path, np.array([1, 2]), LABELS, seed=1, count=2)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"indices": indices}))
    with pytest.raises(ConfigError, match="is not a saved subset"):
        load_subset(path, LABELS)


def test_digest_does_not_depend_on_the_machine():
    # sha256 of 24 bytes: 1, 0 and 2 as little-endian int64.
    assert labels_digest(np.array([1, 0, 2], ">i4")) == labels_digest([1, 0, 2])
    assert labels_digest([1, 0, 2]).startswith("23e8d60b496f9e37")
