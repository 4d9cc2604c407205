import numpy as np
import pytest

from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening, pipeline, subset
from simclr_tf2.data.array_files import from_arrays
from simclr_tf2.errors import ConfigError

IMAGES = np.arange(5 * 4 * 3 * 7, dtype=np.uint8).reshape(5, 4, 3, 7)


def saved(tmp_path, split="train", channels=7, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    data = DataConfig(dataset=str(path), image_channels=channels)
    return opening.open_split(data, split)


def test_seven_channels_reach_the_views(tmp_path):
    split = saved(tmp_path, images=IMAGES)
    assert split.image_shape == (4, 3, 7) and not split.has_labels
    dataset = pipeline.make_pretrain_dataset(
        split,
        global_batch_size=5,
        image_size=8,
        strength=0.5,
        use_blur=False,
        seed=0,
    )
    (element,) = dataset.take(1)
    assert element["views"][0].shape == (5, 8, 8, 7)
    assert sorted(element["index"].numpy()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "names", [("train_images", "train_labels"), ("x_train", "y_train")]
)
def test_splits_and_slices_by_name(tmp_path, names):
    labels = np.array([2, 0, 1, 2, 0])
    arrays = dict(zip(names, (IMAGES, labels), strict=True))
    whole = saved(tmp_path, "train", **arrays)
    np.testing.assert_array_equal(whole.arrays()[0], IMAGES)
    seen = []
    for spec, count in (("train[:1]", 1), ("train[1:4]", 3), ("train[4:]", 1)):
        split = saved(tmp_path, spec, **arrays)
        images, found = split.arrays()
        rows = [int(i) for x in images for i in range(5) if (x == IMAGES[i]).all()]
        assert len(rows) == count and rows == sorted(rows)
        np.testing.assert_array_equal(found, labels[rows])
        assert split.num_classes == 3
        seen += rows
    assert sorted(seen) == list(range(5))  # disjoint slices make the whole
    again = saved(tmp_path, "train[1:4]", **arrays).arrays()[0]
    np.testing.assert_array_equal(again, IMAGES[sorted(seen[1:4])])


def test_a_slice_of_arrays_sorted_by_class_has_all_classes(tmp_path):
    images = np.zeros([500, 8, 8, 3], np.uint8)
    labels = np.repeat(np.arange(10), 50)
    for spec, count in (("train[:80%]", 400), ("train[80%:]", 100)):
        split = saved(tmp_path, spec, channels=3, images=images, labels=labels)
        assert split.num_examples == count
        share = np.bincount(split.arrays()[1], minlength=10)
        assert share.min() > 0.4 * count / 10, share


def test_val_is_validation(tmp_path):
    arrays = {"x_train": IMAGES, "x_val": IMAGES[:2], "y_val": np.array([1, 0])}
    for name in ("val", "validation"):
        split = saved(tmp_path, name, **arrays)
        assert split.num_examples == 2 and split.arrays()[1].tolist() == [1, 0]


def test_minus_one_is_no_label(tmp_path):
    split = saved(tmp_path, images=IMAGES, labels=np.array([0, -1, 1, -1, 1]))
    assert not split.has_labels and split.num_classes == 2
    part = subset.labelled_part(split)
    assert part.has_labels and subset.labels_of(part).tolist() == [0, 1, 1]
    none = saved(tmp_path, images=IMAGES, labels=np.full(5, -1))
    assert not none.has_labels and none.num_classes is None
    assert subset.labelled_part(none) is none


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("patches", "patches_labels"),
        ("images", "labels"),
        ("train_images", "train_labels"),
        ("x_train", "y_train"),
        ("patches", None),
    ],
)
def test_an_npy_file_is_the_split_train(tmp_path, name, labels):
    np.save(tmp_path / f"{name}.npy", IMAGES)
    if labels:
        np.save(tmp_path / f"{labels}.npy", np.array([2, 0, 1, 2, 0]))
    data = DataConfig(dataset=str(tmp_path / f"{name}.npy"), image_channels=7)
    images, found = opening.open_split(data, "train[:4]").arrays()
    np.testing.assert_array_equal(images, IMAGES[:4])
    assert (None if found is None else found.tolist()) == (
        [2, 0, 1, 2] if labels else None
    )


def test_gray_images_without_a_channel_axis(tmp_path):
    split = saved(tmp_path, images=IMAGES[..., 0], channels=1)
    assert split.image_shape == (4, 3, 1)


LABELS = [1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("labels", "expected", "names"),
    [
        (np.array(LABELS, np.float64), LABELS, ()),
        (np.array(LABELS, np.uint8), LABELS, ()),
        (np.array(LABELS)[:, None], LABELS, ()),
        (np.eye(3, dtype=np.int64)[LABELS], LABELS, ()),
        (np.eye(3, dtype=np.float32)[LABELS], LABELS, ()),
        (np.eye(3, dtype=bool)[LABELS], LABELS, ()),
        (np.array(LABELS) + 1, LABELS, ("1", "2", "3")),
        (np.array([30, 7, 200, 30, 7]), LABELS, ("7", "30", "200")),
        (np.array(["b", "a", "c", "b", "a"]), LABELS, ("a", "b", "c")),
        (np.array([b"b", b"a", b"c", b"b", b"a"]), LABELS, ("a", "b", "c")),
        (np.array(["ü ", "a", "", "-1", "a"]), [1, 0, -1, -1, 0], ("a", "ü")),
        (np.array([1, 0, np.nan, -1, 0]), [1, 0, -1, -1, 0], ()),
    ],
)
def test_labels_in_any_form_become_class_numbers(tmp_path, labels, expected, names):
    split = saved(tmp_path, images=IMAGES, labels=labels)
    found = [int(e["label"]) for e in split.as_dataset()]
    assert found == expected
    assert split.class_names == names and split.num_classes == max(expected) + 1
    assert split.has_labels == (min(expected) >= 0) and split.label_shape == ()


def test_several_labels_an_image_stay_as_they_are(tmp_path):
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, -1], [0, 1, 0], [0, 0, 1]])
    for kind in (np.int64, np.float32):
        split = saved(tmp_path, images=IMAGES, labels=labels.astype(kind))
        assert split.label_shape == (3,) and not split.has_labels
        np.testing.assert_array_equal(split.source.labels, labels)


def test_classes_are_those_of_all_splits_of_the_file(tmp_path):
    """A slice or a split with fewer classes keeps the numbers of the whole."""
    arrays = {
        "x_train": IMAGES,
        "y_train": np.array(["dog", "cat", "dog", "cat", "emu"]),
        "X_val": IMAGES[:2],
        "Y_val": np.array(["ant", "emu"]),
    }
    names = ("cat", "dog", "emu", "ant")
    for spec, labels in (("validation", [3, 2]), ("train", [1, 0])):
        split = saved(tmp_path, spec, **arrays)
        assert split.class_names == names
        np.testing.assert_array_equal(split.source.labels[:2], labels)
    halves = [saved(tmp_path, spec, **arrays) for spec in ("val[:1]", "val[1:]")]
    assert all(half.class_names == names for half in halves)
    # A slice is drawn from all of its split; its images keep their own labels.
    for half in halves:
        (place,) = half.source.places[0][1]
        assert half.source.labels.tolist() == [[3, 2][place]]
    assert sorted(int(half.source.labels[0]) for half in halves) == [2, 3]


def test_channels_first_is_turned_where_only_that_fits(tmp_path, caplog):
    caplog.set_level("INFO")
    first = np.moveaxis(IMAGES, 3, 1)
    assert first.shape == (5, 7, 4, 3)
    images, _ = saved(tmp_path, images=first).arrays()
    np.testing.assert_array_equal(images, IMAGES)
    assert "channels first" in caplog.text
    images, _ = saved(tmp_path, images=first, channels=3).arrays()  # fits as it is
    np.testing.assert_array_equal(images, first)


def test_arrays_that_are_not_read_are_named(tmp_path, caplog):
    saved(tmp_path, images=IMAGES, masks=IMAGES, y_test=np.arange(5))
    assert "not read: masks, labels of test" in caplog.text


def test_mistakes_are_one_line(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK")
    broken = DataConfig(dataset=str(tmp_path / "broken.npz"))
    for call, message in (
        (lambda: saved(tmp_path, images=IMAGES, channels=3), "--image_channels=7"),
        (lambda: saved(tmp_path, a=IMAGES), "only: a"),
        (lambda: saved(tmp_path, "test", images=IMAGES), "no split 'test'"),
        (lambda: saved(tmp_path, images=IMAGES.astype(str)), "must be numbers"),
        (lambda: saved(tmp_path, images=IMAGES[0, 0]), "[n, h, w, c]"),
        (
            lambda: saved(tmp_path, images=IMAGES, labels=np.array([1, "a"] * 5, "O")),
            "labels.astype(str)",
        ),
        (lambda: saved(tmp_path, images=IMAGES, labels=np.ones((5, 7)) / 2), "argmax"),
        (lambda: saved(tmp_path, images=IMAGES, labels=np.arange(5) / 2), "fractions"),
        (lambda: saved(tmp_path, images=IMAGES, labels=np.arange(5) - 2), "-1 is no"),
        (lambda: saved(tmp_path, x_train=IMAGES, train_images=IMAGES), "two arrays"),
        (
            lambda: saved(tmp_path, images=np.zeros((2, 13, 32, 32)), channels=3),
            "13 channels first (2x13x32x32); pass --image_channels=13",
        ),
        (lambda: from_arrays(IMAGES, np.zeros(4, int)), "one an image"),
        (lambda: opening.open_split(broken, "train"), "cannot be read"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)
