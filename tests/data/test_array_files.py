import numpy as np
import pytest

from simclr_tf2.config import ConfigError, DataConfig
from simclr_tf2.data import opening, pipeline, subset
from simclr_tf2.data.array_files import from_arrays

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
    split = saved(tmp_path, "train[1:4]", **arrays)
    images, found = split.arrays()
    np.testing.assert_array_equal(images, IMAGES[1:4])
    np.testing.assert_array_equal(found, labels[1:4])
    assert split.num_classes == 3


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


def test_mistakes_are_one_line(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK")
    broken = DataConfig(dataset=str(tmp_path / "broken.npz"))
    for call, message in (
        (lambda: saved(tmp_path, images=IMAGES, channels=3), "--image_channels=7"),
        (lambda: saved(tmp_path, a=IMAGES), "only: a"),
        (lambda: saved(tmp_path, "test", images=IMAGES), "no split 'test'"),
        (lambda: saved(tmp_path, images=IMAGES.astype(np.float32)), "uint8 or uint16"),
        (lambda: from_arrays(IMAGES, np.zeros(4, int)), "one an image"),
        (lambda: opening.open_split(broken, "train"), "cannot be read"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)
