"""Several folders as one: names, labels, splits, the index, and what is refused."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import addresses
from simclr_tf2.config import DataConfig
from simclr_tf2.data import folders, image_sets
from simclr_tf2.errors import ConfigError

RNG = np.random.default_rng(0)


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    return str(folder)


def listed(*places, **options):
    found = folders.list_folders(places, **options)
    labels = found.labels or (None,) * len(found)
    return dict(zip(found.paths, zip(labels, found.splits, strict=True), strict=True))


def test_names_begin_with_the_folder_and_classes_are_merged_by_name(tmp_path):
    a = write(tmp_path / "a", "cat/1.png", "dog/1.png")
    b = write(tmp_path / "b", "cat/1.png", "bird/1.png")
    assert listed(a, b) == {
        "a/cat/1.png": ("cat", None),
        "a/dog/1.png": ("dog", None),
        "b/bird/1.png": ("bird", None),
        "b/cat/1.png": ("cat", None),
    }
    assert folders.list_folders([a, b]).class_names() == ("bird", "cat", "dog")


def test_a_folder_without_classes_has_no_labels(tmp_path):
    a = write(tmp_path / "a", "cat/1.png", "dog/1.png")
    b = write(tmp_path / "b", "1.png", "deep/er/2.png")
    found = listed(a, b)
    assert found["a/cat/1.png"] == ("cat", None)
    assert found["b/1.png"] == found["b/deep/er/2.png"] == (None, None)


def test_one_class_in_each_folder_is_seen_in_both(tmp_path):
    a = write(tmp_path / "a", "cat/1.png", "cat/2.png")
    b = write(tmp_path / "b", "dog/1.png")
    assert listed(a, b)["b/dog/1.png"] == ("dog", None)
    assert listed(a, b, layout="flat")["b/dog/1.png"] == (None, None)


def test_splits_of_both_are_joined(tmp_path):
    names = ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/2.png")
    a, b = (write(tmp_path / name, *names) for name in "ab")
    found = listed(a, b)
    assert found["a/train/cat/1.png"] == found["b/train/cat/1.png"] == ("cat", "train")
    assert found["b/test/dog/2.png"] == ("dog", "test")


def test_folders_of_one_name_keep_what_differs(tmp_path):
    a = write(tmp_path / "2023" / "photos", "1.png")
    b = write(tmp_path / "2024" / "photos", "1.png")
    assert set(listed(a, b)) == {"2023/photos/1.png", "2024/photos/1.png"}
    assert folders.short_names(["gs://x/a", "gs://y/a/"]) == ["x/a", "y/a"]


def test_a_folder_named_as_a_test_split_gets_a_note(tmp_path):
    a = write(tmp_path / "train", "1.png")
    b = write(tmp_path / "test", "1.png")
    (note,) = folders.list_folders([a, b]).notes
    assert "belong to train" in note and b in note


def test_what_cannot_be_read_together_is_named(tmp_path):
    a = write(tmp_path / "a", "deep/1.png")
    (tmp_path / "empty").mkdir()
    for places, why in (
        ([a, str(tmp_path / "b")], "/b is not a folder, nothing is there"),
        ([a, str(tmp_path / "empty")], "/empty holds no image"),
        ([a, a + "/"], "twice"),
        ([a, a + "/deep"], "/a/deep lies in .*/a,"),
    ):
        with pytest.raises(ConfigError, match=why):
            folders.list_folders(places)


def test_a_comma_in_a_name_is_no_separator(tmp_path):
    both = write(tmp_path / "a,b", "1.png")
    assert addresses.folders(both) == (both,)
    assert addresses.folders("x, y,") == ("x", "y")
    assert addresses.folders("x") == ("x",)


@pytest.fixture
def pair(tmp_path):
    names = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(12)]
    write(tmp_path / "a", *names)
    write(tmp_path / "b", *names)
    image_sets._open_image_set.cache_clear()
    return tmp_path


def opened(place, **changes):
    return image_sets.open_image_set(
        DataConfig(
            image_dir=f"{place}/a,{place}/b", data_dir=str(place / "data"), **changes
        )
    )


def test_pixels_are_those_of_each_folder(pair):
    split = opened(pair).open("all")
    assert split.num_examples == 48
    for example in split.as_dataset().take(8):
        path = split.source.paths[int(example["index"])].decode()
        want = tf.io.decode_png(tf.io.read_file(path))
        np.testing.assert_array_equal(split.source.decode(example), want)


def test_the_index_is_kept_and_used(pair, monkeypatch):
    first = opened(pair)
    image_sets._open_image_set.cache_clear()
    monkeypatch.setattr(
        "simclr_tf2.data.file_index._read_and_hash", lambda *_: pytest.fail("read")
    )
    again = opened(pair)
    assert again.index.paths == first.index.paths and again.index.good.all()
    for name in ("digest", "kind", "windowed"):
        np.testing.assert_array_equal(
            getattr(again.index, name), getattr(first.index, name)
        )


def test_splits_do_not_change_when_both_folders_move(pair):
    before = opened(pair)
    (pair / "moved").mkdir()
    for name in "ab":
        shutil.move(pair / name, pair / "moved" / name)
    after = opened(pair / "moved")
    assert before.holds_out and after.holds_out
    names = [
        [images.listing.paths[row] for row in images.splits["validation"]]
        for images in (before, after)
    ]
    assert names[0] == names[1] and names[0]


def test_broken_files_are_named_with_their_folder(pair, caplog):
    (pair / "b" / "cat" / "3.png").write_bytes(b"no image")
    opened(pair, max_bad_fraction=0.5)
    assert "left out: 'b/cat/3.png'" in caplog.text


def test_a_manifest_has_one_folder(pair):
    (pair / "list.csv").write_text("path\na/cat/1.png\n")
    with pytest.raises(ConfigError, match="several folders"):
        opened(pair, manifest=str(pair / "list.csv"))
