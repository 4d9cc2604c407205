"""Folders and manifests of image files as splits, through the training pipeline."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import DataConfig
from simclr_tf2.data import image_sets, opening, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError


def write(path, value, *, size=(6, 5)):
    """A PNG of one colour whose red is ``value``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full([*size, 3], 7, np.uint8)
    pixels[..., 0] = value
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def opened(split="train", **settings):
    image_sets._open_image_set.cache_clear()
    return opening.open_split(DataConfig(**settings), split)


@pytest.fixture
def settings(tmp_path):
    return {
        "image_dir": str(tmp_path / "photos"),
        "data_dir": str(tmp_path / "data"),
        "max_bad_fraction": 0.5,
    }


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


def reds(split):
    return [
        int(split.source.decode(e)[0, 0, 0])
        for e in split.as_dataset().as_numpy_iterator()
    ]


def test_a_flat_folder_is_one_unlabelled_split(photos, settings):
    for i in range(7):
        write(photos / f"{i}.png", i)
    split = opened(**settings)
    assert (split.num_examples, split.num_classes, split.has_labels) == (7, None, False)
    assert split.image_shape == (6, 5, 3) and sorted(reds(split)) == list(range(7))
    assert split.fits_in_memory and split.arrays()[1] is None


def test_the_order_is_that_of_a_hash_and_slices_share_nothing(photos, settings):
    for i in range(23):
        write(photos / "a" / f"{i:02}.png", i)
    everything = reds(opened(**settings))
    assert sorted(everything) == list(range(23)) != everything
    first, rest = opened("train[:30%]", **settings), opened("train[30%:]", **settings)
    assert reds(first) + reds(rest) == everything


def test_classes_without_splits_get_a_held_out_tenth_that_stays(photos, settings):
    for name in ("cat", "dog"):
        for i in range(60):
            write(photos / name / f"{i}.png", i)
    train, held = opened(**settings), opened("validation", **settings)
    assert train.class_names == ("cat", "dog") and train.has_labels
    assert train.num_examples + held.num_examples == 120
    assert 2 <= held.num_examples <= 30
    before = set(held.source.paths)
    for i in range(60, 90):
        write(photos / "cat" / f"{i}.png", i)
    after = set(opened("validation", **settings).source.paths)
    assert before <= after
    assert opened("all", **settings).num_examples == 150


def test_a_tenth_is_held_out_where_the_test_split_has_no_labels(photos, settings):
    for name in ("cat", "dog"):
        for i in range(60):
            write(photos / "train" / name / f"{i}.png", i)
    for i in range(9):
        write(photos / "test" / f"{i}.png", i)
    write(photos / "loose.png", 0)
    train, held = opened(**settings), opened("val", **settings)
    assert train.has_labels and held.has_labels
    assert train.num_examples + held.num_examples == 120 > train.num_examples
    assert opened("test", **settings).num_examples == 9
    assert opened("other", **settings).num_examples == 1


def test_split_and_class_folders_give_labels_from_train(photos, settings):
    for split, names in (("train", "ab"), ("val", "bc")):
        for name in names:
            for i in range(3):
                write(photos / split / name / f"{i}.png", ord(name))
    train, held = opened(**settings), opened("validation", **settings)
    assert train.class_names == held.class_names == ("a", "b", "c")
    for split in (train, held):
        for e in split.as_dataset().as_numpy_iterator():
            red = int(split.source.decode(e)[0, 0, 0])
            assert split.class_names[e["label"]] == chr(red)
    with pytest.raises(ConfigError, match="no split 'test'.*train .6., validation .6"):
        opened("test", **settings)


def test_a_manifest_gives_several_labels_an_image(photos, settings, tmp_path):
    for i in range(3):
        write(photos / f"{i}.png", i)
    manifest = tmp_path / "labels.csv"
    manifest.write_text("path,sky,sea\n0.png,1,0\n1.png,0,-1\n2.png,1,1\n")
    split = opened(
        manifest=str(manifest), label_columns=("sky", "sea"), **settings, split="all"
    )
    assert split.label_shape == (2,) and not split.has_labels
    assert split.class_names == ("sky", "sea")
    labels = {
        int(split.source.decode(e)[0, 0, 0]): e["label"].tolist()
        for e in split.as_dataset().as_numpy_iterator()
    }
    assert labels == {0: [1, 0], 1: [0, -1], 2: [1, 1]}
    (batch,) = pipeline.make_eval_dataset(split, batch_size=4, image_size=8)
    assert batch["label"].shape == (4, 2) and batch["mask"].numpy().sum() == 3


@pytest.mark.parametrize("cache", ["auto", "encoded", "off"])
def test_views_do_not_depend_on_the_cache(photos, settings, cache):
    for i in range(5):
        write(photos / f"{i}.png", 40 * i, size=(6 + i, 9))
    split = opened(**settings)
    assert split.image_shape == (None, None, 3)

    def views(cache):
        dataset = pipeline.make_pretrain_dataset(
            split,
            pipeline.plan_batches(split, 4),
            ViewSpec(image_size=(8, 12), strength=1.0, use_blur=False, num_views=3),
            seed=3,
            cache=cache,
        )
        return list(dataset.take(3).as_numpy_iterator())

    for a, b in zip(views(cache), views("off"), strict=True):
        assert len(a["views"]) == 3 and a["views"][0].shape == (4, 8, 12, 3)
        for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_images_of_various_sizes_cannot_be_held_decoded(photos, settings):
    for i in range(4):
        write(photos / f"{i}.png", i, size=(6 + i, 9))
    split = opened(**settings)
    with pytest.raises(ConfigError, match="--cache=encoded"):
        pipeline.make_pretrain_dataset(
            split,
            pipeline.plan_batches(split, 2),
            ViewSpec(image_size=8, strength=1.0, use_blur=False),
            seed=3,
            cache="decoded",
        )


def test_notes_are_logged_once_where_images_are_opened(photos, settings, caplog):
    for name in ("train/m", "train/z", "test/a"):
        write(photos / name / "1.png", 1)
    image_sets.look_at(DataConfig(**settings))
    assert not caplog.records  # a scan prints them
    train = opened(**settings)
    opening.open_split(DataConfig(**settings), "test")
    assert train.class_names == ("m", "z", "a")
    (record,) = [r for r in caplog.records if "not in train" in r.message]
    assert record.levelname == "WARNING" and "'a'" in record.message


def test_broken_files_are_named_and_left_out(photos, settings, caplog):
    for i in range(4):
        write(photos / f"{i}.png", i)
    (photos / "broken.jpg").write_bytes(b"<html>not found</html>")
    split = opened(**settings)
    assert split.num_examples == 4
    assert "left out: 'broken.jpg'" in caplog.text and "1 of 5" in caplog.text
    settings["max_bad_fraction"] = 0.1
    with pytest.raises(ConfigError, match="1 of 5 image files.*broken.jpg") as caught:
        opened(**settings)
    assert "\n" not in str(caught.value)


def test_a_folder_of_broken_files_only_is_refused(photos, settings):
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"")
    settings["max_bad_fraction"] = 1.0
    with pytest.raises(ConfigError, match="none of the 1 image files"):
        opened(**settings)


def test_a_file_that_breaks_later_is_found(photos, settings):
    for i in range(5):
        write(photos / f"{i}.png", i)
    split = opened(**settings)
    assert split.source.first_broken() is None
    whole = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(whole[: len(whole) // 2])
    assert "3.png" in split.source.first_broken()
    (photos / "3.png").unlink()
    assert "3.png" in split.source.first_broken()


def test_a_second_start_opens_no_file(photos, settings, monkeypatch):
    for i in range(5):
        write(photos / f"{i}.png", i)
    opened(**settings)
    monkeypatch.setattr(image_sets.file_index, "_read_and_hash", None)
    assert opened(**settings).num_examples == 5


def test_gray_and_alpha_channels(photos, settings):
    write(photos / "0.png", 200)
    for channels in (1, 3, 4):
        split = opened(**settings, image_channels=channels)
        assert split.arrays()[0].shape == (1, 6, 5, channels)
    with pytest.raises(ConfigError, match="3 channels.*--image_channels=3"):
        opened(**settings, image_channels=5)
