import numpy as np
import pytest

from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening, overlap, pipeline, subset
from simclr_tf2.data.array_files import from_arrays
from simclr_tf2.data.views import ViewSpec
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
        pipeline.plan_batches(split, 5),
        ViewSpec(image_size=8, strength=0.5, use_blur=False),
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
    for spec, count in (("all[:80%]", 400), ("all[80%:]", 100), ("validation", 49)):
        split = saved(tmp_path, spec, channels=3, images=images, labels=labels)
        assert split.num_examples == count
        share = np.bincount(split.arrays()[1], minlength=10)
        assert share.min() > 0.4 * count / 10, share


def numbered(count):
    """Images that hold their number, and labels of ten classes, one after another."""
    digits = np.stack(np.divmod(np.arange(count), 256), axis=1)
    images = digits.astype(np.uint8)[:, :, None, None]  # 2 x 1 pixels
    return images, np.arange(count) * 10 // count


def numbers(split):
    return (split.arrays()[0][:, :, 0, 0] @ np.array([256, 1])).tolist()


def test_a_tenth_is_held_out_where_only_train_has_labels(tmp_path, caplog):
    caplog.set_level("INFO")
    images, labels = numbered(500)
    arrays = {"channels": 1, "images": images, "labels": labels}
    train, held = (saved(tmp_path, s, **arrays) for s in ("train", "val"))
    assert (train.num_examples, held.num_examples) == (451, 49)
    assert sorted(numbers(train) + numbers(held)) == list(range(500))
    np.testing.assert_array_equal(held.arrays()[1], labels[numbers(held)])
    assert train.num_classes == held.num_classes == 10
    (said,) = [r.message for r in caplog.records if "validation" in r.message]
    assert "only train has labels, so 49 of its 500 images" in said
    # The choice stays when images are added at the end.
    images, labels = numbered(900)
    more = saved(tmp_path, "validation", channels=1, images=images, labels=labels)
    assert numbers(held) == [i for i in numbers(more) if i < 500]


def test_all_is_every_image_in_the_order_of_the_file(tmp_path):
    images, labels = numbered(60)
    arrays = {"x_train": images[:50], "y_train": labels[:50], "x_test": images[50:]}
    whole = saved(tmp_path, "all", channels=1, **arrays)
    assert numbers(whole) == list(range(60))
    part = saved(tmp_path, "all[:50%]", channels=1, **arrays)
    rest = saved(tmp_path, "all[50%:]", channels=1, **arrays)
    assert sorted(numbers(part) + numbers(rest)) == list(range(60))
    assert overlap.shared_images(part, rest) == 0
    held = saved(tmp_path, "validation", channels=1, **arrays)
    train = saved(tmp_path, "train", channels=1, **arrays)
    assert overlap.shared_images(train, held) == 0
    assert overlap.shared_images(whole, held) == held.num_examples == 5


IMAGES_OF_40, LABELS_OF_40 = numbered(40)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"labels": np.full(40, -1)},
        {"labels": LABELS_OF_40, "x_val": IMAGES_OF_40},
        {"labels": LABELS_OF_40, "x_test": IMAGES_OF_40, "y_test": LABELS_OF_40},
    ],
)
def test_nothing_is_held_out_without_labels_nor_beside_other_splits(tmp_path, arrays):
    split = saved(tmp_path, channels=1, images=IMAGES_OF_40, **arrays)
    assert split.num_examples == 40
    if "x_val" not in arrays:
        with pytest.raises(ConfigError, match="no split 'validation'"):
            saved(tmp_path, "validation", channels=1, images=IMAGES_OF_40, **arrays)


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
