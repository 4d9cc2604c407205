"""What a folder's structure says: images, labels, splits."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import layouts, side_files
from simclr_tf2.errors import ConfigError


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


def test_class_layout_loses_no_label_silently_to_a_stray(tmp_path):
    paths = [f"{c}/{i}.jpg" for c in ("cat", "dog") for i in range(9)]
    root = _make(tmp_path, *paths, "stray.jpg")
    listing = layouts.list_folder(root)
    assert listing.labels is None
    assert "'stray.jpg'" in listing.notes[0]
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


def test_classes_that_train_lacks_come_last_with_a_note(tmp_path):
    root = _make(tmp_path, "train/m/1.jpg", "train/z/2.jpg", "test/a/3.jpg")
    listing = layouts.list_folder(root)
    assert listing.class_names() == ("m", "z", "a")
    (note,) = listing.notes
    assert "not in train, with the ids" in note and "'a'" in note


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
    with pytest.raises(ConfigError, match="holds no image.*1 .heic .convert") as caught:
        layouts.list_folder(_make(tmp_path, "a.heic"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "file.jpg"])
def test_no_folder_is_one_line(tmp_path, name):
    _make(tmp_path, "file.jpg")
    with pytest.raises(ConfigError, match="is not a folder"):
        layouts.list_folder(str(tmp_path / name))


SIDE = [
    *"@eaDir #recycle #snapshot @Recycle @Recently-Snapshot .@__thumb lost+found "
    "$RECYCLE.BIN __MACOSX .ipynb_checkpoints .AppleDouble .Trashes".split(),
    "System Volume Information",
]


@pytest.mark.parametrize("depth", ["", "cat/"])
def test_folders_of_systems_change_no_layout_and_are_counted(tmp_path, depth):
    images = ("cat/1.jpg", "dog/2.jpg")
    inside = [f"{depth}{name}/x/3.jpg" for name in SIDE]
    listing = layouts.list_folder(_make(tmp_path, *images, *inside, "cat/Thumbs.db"))
    assert listing.paths == images and listing.labels == ("cat", "dog")
    assert listing.side_folders == dict.fromkeys(SIDE, 1)
    for name in SIDE:
        assert name in listing.left_out
    assert "1 hidden file" in listing.left_out and "\n" not in listing.left_out


def test_every_folder_of_a_system_stands_in_the_docs():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text().lower()
    assert [name for name in side_files.SIDE_FOLDERS if f"`{name}`" not in page] == []


def test_files_left_out_are_named_by_suffix_with_what_to_do(tmp_path):
    root = _make(tmp_path, "1.jpg", "1.jpg~", "2.HEIC", "p.zip", "q.tar.gz", "README")
    left_out = layouts.list_folder(root).left_out
    for words in ("1 .jpg~", "1 .heic", "1 .zip", "1 .tar.gz", "1 (none)"):
        assert words in left_out
    assert "unpack archives" in left_out and "convert .heic" in left_out


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train2017", "val2017"),
        ("Training", "Valid"),
        ("train_images", "val_images"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
        ("trainset", "valset"),
        ("01-train", "02-dev"),
    ],
)
def test_names_of_splits_with_numbers_and_words_are_understood(tmp_path, train, val):
    root = _make(tmp_path, f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{val}/a/3.jpg")
    found = layouts.list_folder(root)
    rows = set(zip(found.paths, found.splits, found.labels, strict=True))
    assert (f"{train}/b/2.jpg", "train", "b") in rows
    assert (f"{val}/a/3.jpg", "validation", "a") in rows


def test_what_lies_beside_splits_is_not_trained_on_and_said(tmp_path):
    root = _make(
        tmp_path,
        *("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"),
        *("extra/4.jpg", "preview.png"),
    )
    found = layouts.list_folder(root)
    assert found.splits == ("extra", "other", "train", "train", "validation")
    assert found.labels == (None, None, "a", "b", "a")
    assert "extra/ (1 image) beside the splits" in found.notes[0]
    assert "preview.png" in found.notes[1]


def test_two_flat_splits_beside_a_folder_are_no_classes(tmp_path):
    found = layouts.list_folder(_make(tmp_path, "train/1.jpg", "val/2.jpg", "x/3.jpg"))
    assert found.splits == ("train", "validation", "x") and found.labels is None


@pytest.mark.parametrize("word", ["train", "train_station", "test1"])
def test_a_class_may_be_called_train(tmp_path, word):
    root = _make(tmp_path, "bus/1.jpg", f"{word}/2.jpg", "truck/3.jpg")
    found = layouts.list_folder(root)
    labels = dict(zip(found.paths, found.labels, strict=True))
    assert labels[f"{word}/2.jpg"] == word and set(found.splits) == {None}
    assert found.class_names() == tuple(sorted(("bus", word, "truck")))


def test_a_class_called_like_a_held_out_split_is_said(tmp_path):
    found = layouts.list_folder(_make(tmp_path, "val/1.jpg", "cat/2.jpg"))
    assert found.layout == "class" and "val/ is read as a class" in found.notes[0]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("data/cat/1.jpg", "data/dog/2.jpg"), "pass --image_dir={0}/data"),
        (("data/train/1.jpg", "data/val/2.jpg"), "1 image in folders called val"),
        (("cat/test/1.jpg", "dog/train/2.jpg"), "1 image in folders called test"),
        (("pets/cat/1.jpg", "cars/bus/2.jpg"), "pass --image_layout=class"),
        (("cat/1.jpg", "dog/2.jpg", "3.jpg", "4.jpg"), "but not '3.jpg'"),
    ],
)
def test_what_looks_labelled_is_not_read_as_unlabelled_in_silence(
    tmp_path, paths, words
):
    root = _make(tmp_path, *paths)
    found = layouts.list_folder(root)
    assert found.labels is None
    assert words.format(root) in " / ".join(found.notes)


def test_a_stray_that_costs_a_split_its_labels_is_said(tmp_path):
    paths = ("train/a/1.jpg", "train/b/2.jpg", "train/3.jpg", "test/a/4.jpg")
    root = _make(tmp_path, *paths, "test/b/5.jpg")
    found = layouts.list_folder(root)
    assert (
        "2 of 3 images of train" in found.notes[0] and "'train/3.jpg'" in found.notes[0]
    )
    forced = layouts.list_folder(root, layout="split_class")
    assert forced.labels == ("a", "b", None, "a", "b")


def test_doubled_split_folders_are_said(tmp_path):
    paths = [f"seg_train/seg_train/{c}/1.jpg" for c in "ab"]
    note = " ".join(layouts.list_folder(_make(tmp_path, *paths)).notes)
    assert "if a, b are classes, move them up one folder" in note


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("photos.zip", "unzip .*photos.zip"),
        ("my photos.zip", "unzip '.*my photos.zip' -d '.*my photos'"),
        ("my list.csv", "pass --manifest='.*my list.csv'"),
        ("my pets/1.jpg", "pass --image_dir='.*my pets'"),
        ("photos.tar.gz", "tar -xf .*photos.tar.gz"),
        ("list.csv", "pass --manifest=.*list.csv"),
        ("a.npy", "pass --dataset=.*a.npy"),
        ("x.tfrecord", "pass --tfrecords="),
        ("pets/1.jpg", "pass --image_dir=.*pets"),
        ("pet", "did you mean .*pets[?]"),
    ],
)
def test_a_path_that_is_no_folder_names_what_reads_it(tmp_path, name, words):
    _make(tmp_path, *(n for n in (name, "pets/1.jpg") if n != "pet"))
    with pytest.raises(ConfigError, match=f"is not a folder.*{words}"):
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


def test_a_class_called_train_among_others_is_not_questioned(tmp_path):
    root = _make(tmp_path, "bus/1.jpg", "train/2.jpg", "truck/3.jpg")
    assert layouts.list_folder(root).notes == ()
