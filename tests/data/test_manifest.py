"""A CSV or Parquet file as the list of images."""

import unicodedata

import numpy as np
import pytest

from simclr_tf2.data import manifest
from simclr_tf2.errors import ConfigError


def _write(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_rows_are_sorted_by_path_with_their_labels_and_splits(tmp_path):
    path = _write(
        tmp_path, "path,label,split\nb.jpg,dog,val\n./a.jpg,cat,train\nc.jpg,,train\n"
    )
    listing = manifest.read_manifest(path)
    assert listing.root == str(tmp_path)
    assert listing.paths == ("a.jpg", "b.jpg", "c.jpg")
    assert listing.labels == ("cat", "dog", None)
    assert listing.splits == ("train", "validation", "train")
    np.testing.assert_array_equal(listing.label_ids(), [0, 1, -1])


def test_columns_label_and_split_may_be_missing(tmp_path):
    listing = manifest.read_manifest(_write(tmp_path, "path\na.jpg\n"), root="/photos")
    assert listing.root == "/photos"
    assert listing.labels is None and listing.splits == (None,)


def test_an_empty_label_column_means_unlabelled(tmp_path):
    listing = manifest.read_manifest(_write(tmp_path, "path,label\na.jpg,\nb.jpg,\n"))
    assert listing.labels is None


def test_integer_labels_are_sorted_as_numbers(tmp_path):
    text = "path,label\n" + "".join(f"{i}.jpg,{i}\n" for i in (10, 9, 0))
    assert manifest.read_manifest(_write(tmp_path, text)).class_names() == (
        "0",
        "9",
        "10",
    )


def test_names_may_hold_commas_newlines_and_spaces_at_their_ends(tmp_path):
    text = '\ufeffpath,label\r\n"a,\nb.jpg",x\r\n c.jpg ,y\r\n\r\n'
    listing = manifest.read_manifest(_write(tmp_path, text))
    assert listing.paths == (" c.jpg ", "a,\nb.jpg")
    assert listing.labels == ("y", "x")


def test_tsv_is_split_at_tabs(tmp_path):
    path = _write(tmp_path, "path\tlabel\na,b.jpg\tx\n", "labels.tsv")
    assert manifest.read_manifest(path).paths == ("a,b.jpg",)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_may_have_other_delimiters(tmp_path, delimiter):
    text = "path,label\r\na,b.jpg,x\r\n".replace(",", "#").replace("a#b", "a,b")
    path = _write(tmp_path, text.replace("#", delimiter))
    listing = manifest.read_manifest(path)
    assert (listing.paths, listing.labels) == (("a,b.jpg",), ("x",))


def test_utf_16_and_other_case_of_the_columns_are_read(tmp_path):
    path = _write(tmp_path, "Path\tLabel\nü.jpg\tx\n".encode("utf-16"), "list.csv")
    listing = manifest.read_manifest(path)
    assert (listing.paths, listing.labels) == (("ü.jpg",), ("x",))


def test_no_label_is_minus_one_or_empty(tmp_path):
    text = "path,label\n1.jpg,0\n2.jpg,-1\n3.jpg,\n4.jpg,1\n5.jpg,-1.0\n6.jpg,NA\n"
    listing = manifest.read_manifest(_write(tmp_path, text))
    assert listing.labels == ("0", None, None, "1", None, "NA")
    assert listing.class_names() == ("0", "1", "NA")


def test_only_minus_one_is_unlabelled(tmp_path):
    path = _write(tmp_path, "path,label\n1.jpg,-1\n2.jpg,-1\n")
    assert manifest.read_manifest(path).labels is None


NAME = "Müller 1.JPG"  # composed


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (f"a\\{NAME}", "with / for backslashes"),
        (f" a/{NAME}  ", "without the spaces"),
        (f"D:\\photos\\a\\{NAME}", "without D:/photos/ in front"),
        (f"/home/me/photos/a/{NAME}", "without /home/me/photos/ in front"),
        (f"photos/a/{NAME}", "without photos/ in front"),
        (unicodedata.normalize("NFD", f"a/{NAME}"), "in the Unicode form"),
        ("A/müller 1.jpg", "in the case"),
        (unicodedata.normalize("NFD", f" D:\\p\\a\\{NAME}"), "in the Unicode form"),
    ],
)
def test_paths_of_another_machine_are_found_and_said(tmp_path, written, words):
    (tmp_path / "a").mkdir()
    for name in (NAME, "Müller 2.JPG"):
        (tmp_path / "a" / name).write_bytes(b"x")
    other = written.replace("1", "2")
    path = _write(tmp_path, f'path,label\n"{written}",x\n"{other}",y\n')
    listing = manifest.read_manifest(path)
    assert listing.paths == (f"a/{NAME}", "a/Müller 2.JPG")
    assert listing.labels == ("x", "y") and listing.missing == ""
    assert len(listing.notes) == 1 and words in listing.notes[0]
    assert listing.notes[0].startswith("2 of 2 paths")


def test_paths_that_are_right_are_left_as_they_are(tmp_path):
    for name in (" a.jpg ", "b\\c.jpg", "x.jpg", "X.jpg"):
        (tmp_path / name).write_bytes(b"x")
    listing = manifest.read_manifest(
        _write(tmp_path, "path\n a.jpg \nb\\c.jpg\nx.jpg\nX.jpg\n")
    )
    assert set(listing.paths) == {" a.jpg ", "b\\c.jpg", "x.jpg", "X.jpg"}
    assert listing.notes == ()


def test_a_change_that_leads_two_names_to_one_file_is_not_made(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"x")
    listing = manifest.read_manifest(
        _write(tmp_path, "path,label\nC:\\a\\1.jpg,x\n C:\\a\\1.jpg,y\n")
    )
    assert all("C:" in path for path in listing.paths) and listing.missing


def test_two_files_that_differ_in_case_are_not_guessed_between(tmp_path):
    for name in ("x.jpg", "X.JPG"):
        (tmp_path / name).write_bytes(b"x")
    listing = manifest.read_manifest(_write(tmp_path, "path\nx.JPG\n"))
    assert listing.paths == ("x.JPG",) and listing.missing


@pytest.mark.parametrize("prefix", ["", "{root}/"])
def test_a_missing_file_is_not_replaced_by_one_of_its_name(tmp_path, prefix):
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"x")
    start = prefix.format(root=tmp_path)
    text = f"path\n{start}a/1.jpg\n{start}a/2.jpg\n"
    listing = manifest.read_manifest(_write(tmp_path, text))
    assert f"{start}a/2.jpg" in listing.paths and "1 of 2 paths" in listing.missing


def test_what_is_missing_says_where_and_what_is_near(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo_1.jpg").write_bytes(b"x")
    listing = manifest.read_manifest(_write(tmp_path, "path\na/photo1.jpg\n"))
    for words in ("1 of 1", "'a/photo1.jpg'", "near: 'photo_1.jpg'", "--image_dir"):
        assert words in listing.missing
    assert "\n" not in listing.missing


def test_a_manifest_of_files_elsewhere_is_left_alone(tmp_path):
    path = _write(tmp_path, "path\ngs://bucket/a.jpg\n")
    assert manifest.read_manifest(path).paths == ("gs://bucket/a.jpg",)


def test_multi_labels_are_one_column_each(tmp_path):
    text = "path,cat,dog\nb.jpg,1,-1\na.jpg,,0\nc.jpg,1.0,NaN\n"
    listing = manifest.read_manifest(
        _write(tmp_path, text), label_columns=("cat", "dog")
    )
    assert listing.multi_label_names == ("cat", "dog")
    assert listing.multi_labels.dtype == np.int8
    np.testing.assert_array_equal(listing.multi_labels, [[-1, 0], [1, -1], [1, -1]])


def test_parquet_reads_like_csv(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {
        "path": ["b.jpg", "a.jpg"],
        "label": pa.array([3.0, None]),  # integers with a gap, as pandas writes them
        "split": ["test", None],
        "cat": pa.array([True, False]).cast(pa.int8()),
    }
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    listing = manifest.read_manifest(
        str(tmp_path / "labels.parquet"), label_columns=("cat",)
    )
    assert listing.paths == ("a.jpg", "b.jpg")
    assert listing.labels == (None, "3")
    assert listing.splits == (None, "test")
    np.testing.assert_array_equal(listing.multi_labels, [[0], [1]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column 'path'"),
        ("file,label\na.jpg,x\n", "lacks the column 'path'.*file, label; rename file"),
        ("path,label\n", "lists no image"),
        ("path\na.jpg\nb.jpg\n./a.jpg\n", "'a.jpg' twice, as images 1 and 3"),
        ("path,label\na.jpg,x\n,y\n", "image 2 has no usable path"),
        ("path,label\na.jpg,x,y\n", "line 2 has 3 fields"),
        ("path,path\na.jpg,x\n", "names a column twice"),
        ('path\n"a.jpg\n', "line"),
        (b"path\n\xff.jpg\n", "not UTF-8"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        manifest.read_manifest(_write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_missing_label_column_and_odd_values_are_one_line(tmp_path):
    path = _write(tmp_path, "path,cat\na.jpg,2\n")
    with pytest.raises(ConfigError, match="lacks the column 'dog'"):
        manifest.read_manifest(path, label_columns=("cat", "dog"))
    with pytest.raises(ConfigError, match="'cat' of image 1 must be 0, 1, -1"):
        manifest.read_manifest(path, label_columns=("cat",))


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet"])
def test_a_missing_manifest_is_one_line(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        manifest.read_manifest(str(tmp_path / name))


def test_damaged_parquet_is_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    path = _write(tmp_path, "no parquet", "labels.parquet")
    with pytest.raises(ConfigError, match="not a readable Parquet"):
        manifest.read_manifest(path)
