"""What a folder's structure says: images, labels, splits."""

import os

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ConfigError
from simclr_tf2.data import layouts


def _make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return str(root)


def test_flat_folder_is_unlabelled_and_sorted(tmp_path):
    root = _make(tmp_path, "b.PNG", "a.jpg", "deep/er/c.webp", "notes.txt", "README")
    listing = layouts.list_folder(root)
    assert listing.paths == ("a.jpg", "b.PNG", "deep/er/c.webp")
    assert listing.labels is None and listing.splits == (None,) * 3
    assert listing.layout == "flat" and listing.class_names() == ()
    assert listing.others == {".txt": 1, "(none)": 1}
    np.testing.assert_array_equal(listing.label_ids(), [-1, -1, -1])


def test_folders_of_one_depth_are_classes(tmp_path):
    listing = layouts.list_folder(
        _make(tmp_path, "cat/1.jpg", "dog/2.jpg", "dog/0.jpg")
    )
    assert listing.layout == "class"
    assert listing.labels == ("cat", "dog", "dog")
    np.testing.assert_array_equal(listing.label_ids(), [0, 1, 1])


def test_class_layout_loses_no_label_silently_to_a_stray(tmp_path, caplog):
    paths = [f"{c}/{i}.jpg" for c in ("cat", "dog") for i in range(9)]
    root = _make(tmp_path, *paths, "stray.jpg")
    listing = layouts.list_folder(root)
    assert listing.labels is None
    assert "'stray.jpg'" in listing.notes[0] and "'stray.jpg'" in caplog.text
    forced = layouts.list_folder(root, layout="class")
    assert forced.class_names() == ("cat", "dog")
    assert forced.labels[forced.paths.index("stray.jpg")] is None


def test_one_folder_is_no_class(tmp_path):
    root = _make(tmp_path, "photos/1.jpg", "photos/2.jpg")
    assert layouts.list_folder(root).labels is None
    assert layouts.list_folder(root, layout="class").class_names() == ("photos",)


def test_flat_can_be_forced(tmp_path):
    root = _make(tmp_path, "cat/1.jpg", "dog/2.jpg")
    assert layouts.list_folder(root, layout="flat").labels is None


def test_split_names_are_normalised(tmp_path):
    root = _make(
        tmp_path, "Train/a/1.jpg", "Train/b/2.jpg", "val/a/3.jpg", "test/b/4.jpg"
    )
    listing = layouts.list_folder(root)
    assert listing.layout == "split_class"
    assert listing.splits == ("train", "train", "test", "validation")
    assert listing.labels == ("a", "b", "b", "a")


def test_a_flat_split_is_unlabelled_beside_labelled_ones(tmp_path):
    root = _make(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "unlabeled/3.jpg")
    listing = layouts.list_folder(root)
    assert listing.labels == ("a", "b", None)
    assert listing.splits == ("train", "train", "unlabeled")


def test_the_folders_of_an_unlabelled_split_are_no_classes(tmp_path):
    root = _make(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "unlabelled/c/3.jpg")
    assert layouts.list_folder(root).class_names() == ("a", "b")


def test_one_folder_within_splits_is_no_class(tmp_path):
    root = _make(tmp_path, "train/images/1.jpg", "test/images/2.jpg")
    listing = layouts.list_folder(root)
    assert listing.labels is None and listing.splits == ("test", "train")


def test_a_class_named_like_a_split_does_not_make_splits(tmp_path):
    listing = layouts.list_folder(_make(tmp_path, "test/1.jpg", "cat/2.jpg"))
    assert listing.layout == "class" and listing.class_names() == ("cat", "test")


def test_classes_that_train_lacks_come_last_with_a_warning(tmp_path, caplog):
    root = _make(tmp_path, "train/m/1.jpg", "train/z/2.jpg", "test/a/3.jpg")
    listing = layouts.list_folder(root)
    assert listing.class_names() == ("m", "z", "a")
    assert "1 classes are not in train" in caplog.text and "'a'" in caplog.text


def test_numbered_classes_are_sorted_as_numbers(tmp_path):
    root = _make(tmp_path, *(f"{i}/x.jpg" for i in (10, 2, 0)))
    assert layouts.list_folder(root).class_names() == ("0", "2", "10")


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path):
    root = _make(tmp_path, "a.jpg", ".b.jpg", ".git/c.jpg", "__MACOSX/d.jpg", "._a.jpg")
    listing = layouts.list_folder(root)
    assert listing.paths == ("a.jpg",) and listing.hidden == 4


def test_links_are_followed_once(tmp_path):
    root = _make(tmp_path / "data", "real/a.jpg")
    _make(tmp_path / "elsewhere", "b.jpg", "sub/c.jpg")
    os.symlink(tmp_path / "elsewhere", f"{root}/0_linked")
    os.symlink(tmp_path / "elsewhere", f"{root}/1_linked_again")
    os.symlink(f"{root}/real", f"{root}/0_link_to_real")
    os.symlink(root, f"{root}/real/cycle")
    os.symlink(f"{root}/real/a.jpg", f"{root}/file.jpg")
    listing = layouts.list_folder(root)
    assert listing.paths == (
        "0_linked/b.jpg",
        "0_linked/sub/c.jpg",
        "file.jpg",
        "real/a.jpg",
    )
    assert any("3 linked folders" in note for note in listing.notes)


def test_broken_links_are_listed(tmp_path):
    root = _make(tmp_path, "a.jpg")
    os.symlink("nowhere.jpg", f"{root}/broken.jpg")
    os.symlink("itself.jpg", f"{root}/itself.jpg")
    assert layouts.list_folder(root).paths == ("a.jpg", "broken.jpg", "itself.jpg")


def test_names_of_any_bytes_are_listed(tmp_path):
    names = ["new\nline.jpg", "図.jpg", os.fsdecode(b"\xff\xfe.jpg"), " .jpg"]
    root = _make(tmp_path, *names)
    assert layouts.list_folder(root).paths == tuple(sorted(names))


def test_a_folder_named_like_an_image_is_a_folder_unless_empty(tmp_path):
    root = _make(tmp_path, "x.jpg/in.jpg")
    (tmp_path / "y.jpg").mkdir()
    assert layouts.list_folder(root).paths == ("x.jpg/in.jpg", "y.jpg")


def test_no_images_is_one_line_that_says_what_is_there(tmp_path):
    with pytest.raises(ConfigError, match="holds no image.*1 .tiff") as caught:
        layouts.list_folder(_make(tmp_path, "a.tiff"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ("missing", "file.jpg"))
def test_no_folder_is_one_line(tmp_path, name):
    _make(tmp_path, "file.jpg")
    with pytest.raises(ConfigError, match="is not a folder"):
        layouts.list_folder(str(tmp_path / name))


def test_remote_folders_are_walked_by_tensorflow():
    for name in ("b/2.jpg", "a/1.jpg", "a/.hidden.jpg", "notes.txt"):
        path = f"ram://simclr_layouts/{name}"
        tf.io.gfile.makedirs(path.rsplit("/", 1)[0])
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("x")
    listing = layouts.list_folder("ram://simclr_layouts")
    assert listing.paths == ("a/1.jpg", "b/2.jpg")
    assert listing.labels == ("a", "b") and listing.others == {".txt": 1}
