import numpy as np
import pytest

from simclr_tf2.config import ConfigError, DataConfig
from simclr_tf2.data import opening, pipeline
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
