"""The index of files: what is read, what is kept, what is wrong."""

import io
import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf2.data import file_index, layouts


def _jpeg(seed, height=5, width=7):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), "uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(3):
        (root / f"{i}.jpg").write_bytes(_jpeg(i, 5 + i))
    return root


@pytest.fixture
def reads(monkeypatch):
    """Paths that were opened."""
    opened = []
    original = file_index._open
    monkeypatch.setattr(
        file_index,
        "_open",
        lambda path: (
            opened.append(os.fsdecode(os.path.basename(path))) or original(path)
        ),
    )
    return opened


def _index(folder, **options):
    return file_index.build_index(layouts.list_folder(str(folder)), **options)


def _assert_same(one, other):
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def test_columns_describe_the_files(folder):
    index = _index(folder)
    assert index.paths == ("0.jpg", "1.jpg", "2.jpg") and len(index) == 3
    assert index.good.all()
    np.testing.assert_array_equal(index.format, ["jpeg"] * 3)
    np.testing.assert_array_equal(index.height, [5, 6, 7])
    np.testing.assert_array_equal(index.width, [7, 7, 7])
    np.testing.assert_array_equal(
        index.size, [os.path.getsize(folder / p) for p in index.paths]
    )
    assert len(np.unique(index.digest, axis=0)) == 3


def test_upright_shape_swaps_the_sides_of_turned_images(folder):
    index = _index(folder)
    index.orientation[1] = 6
    height, width = index.upright_shape()
    np.testing.assert_array_equal(height, [5, 7, 7])
    np.testing.assert_array_equal(width, [7, 6, 7])


def test_second_start_opens_no_file_and_gives_the_same(folder, tmp_path, reads):
    cache = str(tmp_path / "new" / "index.npz")
    first = _index(folder, cache_path=cache)
    assert sorted(reads) == ["0.jpg", "1.jpg", "2.jpg"]
    reads.clear()
    _assert_same(_index(folder, cache_path=cache), first)
    assert reads == []


def test_only_changed_and_new_files_are_read_again(folder, tmp_path, reads):
    cache = str(tmp_path / "index.npz")
    _index(folder, cache_path=cache)
    (folder / "0.jpg").write_bytes(_jpeg(9, 9))
    os.utime(folder / "1.jpg", ns=(1, 1))
    (folder / "2.jpg").unlink()
    (folder / "a.jpg").write_bytes(_jpeg(8))
    reads.clear()
    index = _index(folder, cache_path=cache)
    assert sorted(reads) == ["0.jpg", "1.jpg", "a.jpg"]
    assert index.paths == ("0.jpg", "1.jpg", "a.jpg")
    np.testing.assert_array_equal(index.height, [9, 6, 5])
    _assert_same(index, _index(folder))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
def test_damaged_cache_is_made_anew(folder, tmp_path, caplog, reads, damage):
    cache = tmp_path / "index.npz"
    expected = _index(folder, cache_path=str(cache))
    contents = cache.read_bytes()
    middle = contents.index(b"jpg") - 1
    cache.write_bytes(
        {
            "empty": b"",
            "cut": contents[: len(contents) // 2],
            "flipped": contents[:middle] + b"????" + contents[middle + 4 :],
            "text": b"not an archive",
        }[damage]
    )
    reads.clear()
    _assert_same(_index(folder, cache_path=str(cache)), expected)
    assert "made anew" in caplog.text and len(reads) == 3
    reads.clear()
    _index(folder, cache_path=str(cache))
    assert reads == []


def test_cache_of_another_folder_is_not_used(folder, tmp_path, reads):
    cache = str(tmp_path / "index.npz")
    _index(folder, cache_path=cache)
    os.rename(folder, tmp_path / "moved")
    reads.clear()
    _index(tmp_path / "moved", cache_path=cache)
    assert len(reads) == 3


def test_unwritable_cache_is_logged_and_the_index_is_made(folder, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    index = _index(folder, cache_path=str(tmp_path / "file" / "index.npz"))
    assert index.good.all() and "going on without" in caplog.text


def test_saving_leaves_nothing_but_the_cache(folder, tmp_path):
    _index(folder, cache_path=str(tmp_path / "cache" / "index.npz"))
    assert os.listdir(tmp_path / "cache") == ["index.npz"]


def test_interrupted_indexing_keeps_what_it_read(folder, tmp_path, reads):
    cache = str(tmp_path / "index.npz")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _index(folder, cache_path=cache, progress=interrupt)
    reads.clear()
    assert _index(folder, cache_path=cache).good.all()
    assert reads == []


def test_progress_ends_at_all_files(folder):
    calls = []
    _index(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)


def test_number_of_threads_changes_nothing(folder):
    for i in range(40):
        (folder / f"more_{i}.jpg").write_bytes(_jpeg(i))
    _assert_same(_index(folder, workers=1), _index(folder, workers=4))


def test_pixel_cap_is_not_kept_in_the_cache(folder, tmp_path):
    cache = str(tmp_path / "index.npz")
    capped = _index(folder, cache_path=cache, max_pixels=42)
    np.testing.assert_array_equal(capped.good, [True, True, False])
    assert capped.error[2] == "7x7 pixels exceed the cap of 42 pixels"
    assert _index(folder, cache_path=cache).good.all()


def test_pixel_cap_counts_every_frame_of_a_gif(folder):
    frames = [
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (5, 7), "uint8"))
        for i in range(9)
    ]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    index = _index(folder, max_pixels=104)
    assert index.pixels[3] == 9 * 5 * 7 // 3  # one byte a pixel, not three
    assert index.error[3] == "all frames of 5x7 pixels exceed the cap of 104 pixels"
    assert _index(folder, max_pixels=105, check="decode").good.all()


def test_decode_check_follows_a_header_check_once(folder, tmp_path, reads):
    cache = str(tmp_path / "index.npz")
    assert not _index(folder, cache_path=cache).decoded.any()
    reads.clear()
    assert _index(folder, cache_path=cache, check="decode").decoded.all()
    assert len(reads) == 3
    reads.clear()
    assert _index(folder, cache_path=cache, check="decode").decoded.all()
    assert _index(folder, cache_path=cache).decoded.all()
    assert reads == []


def test_file_without_an_end_is_decoded_by_either_check(folder):
    whole = _jpeg(0, 33, 35)
    (folder / "cut.jpg").write_bytes(whole[:-200])
    index = _index(folder)
    assert index.decoded.tolist() == [False, False, False, True]
    assert index.error[3].startswith("cut off")


def test_large_files_are_hashed_in_parts(folder, monkeypatch):
    whole = _index(folder)
    monkeypatch.setattr(file_index, "_WHOLE", 100)
    monkeypatch.setattr(file_index, "_BEGINNING", 640)
    _assert_same(_index(folder), whole)
    parts = _index(folder, check="decode")
    np.testing.assert_array_equal(parts.digest, whole.digest)
    assert parts.decoded.all() and parts.good.all()


def test_what_is_no_file_is_named_and_never_opened(folder, reads):
    os.symlink("nowhere.jpg", folder / "broken.jpg")
    os.symlink("itself.jpg", folder / "itself.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "x.jpg").mkdir()
    index = _index(folder)
    why = dict(zip(index.paths, index.error, strict=True))
    assert why["broken.jpg"] == "a link that leads nowhere (nowhere.jpg)"
    assert why["itself.jpg"] == "a link that leads back to itself"
    assert "pipe" in why["pipe.jpg"]
    assert why["x.jpg"] == "a folder, not a file"
    assert sorted(reads) == ["0.jpg", "1.jpg", "2.jpg"]


def test_files_of_a_manifest_that_do_not_exist_are_bad():
    listing = layouts.Listing(
        root="/nowhere",
        paths=("a.jpg", "a\0b.jpg"),
        labels=None,
        splits=(None, None),
        layout="manifest",
    )
    error = file_index.build_index(listing).error
    assert error[0] == "no such file" and "embedded null" in error[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_unreadable_file_is_bad_until_it_is_readable_as_root():
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o777)
        _check_permission(root, as_nobody=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_bad_until_it_is_readable(tmp_path):
    _check_permission(str(tmp_path), as_nobody=False)


def _check_permission(root, as_nobody):
    path, cache = os.path.join(root, "a.jpg"), os.path.join(root, "index.npz")
    with open(path, "wb") as file:
        file.write(_jpeg(0))
    os.chmod(path, 0)
    if as_nobody:
        os.seteuid(65534)
    try:
        index = _index(root, cache_path=cache)
    finally:
        if as_nobody:
            os.seteuid(0)
    assert index.error.tolist() == ["permission denied"]
    os.chmod(path, 0o644)  # changes neither size nor time of change
    assert _index(root, cache_path=cache).good.all()


def test_names_of_any_bytes_are_read_and_cached(folder, tmp_path, reads):
    names = ["new\nline.jpg", "図.jpg", os.fsdecode(b"\xff\xfe.jpg")]
    for name in names:
        (folder / name).write_bytes(_jpeg(5))
    cache = str(tmp_path / "index.npz")
    first = file_index.build_index(layouts.list_folder(str(folder)), cache_path=cache)
    assert first.good.all() and set(names) < set(first.paths)
    _assert_same(_index(folder, cache_path=cache), first)
    listing = layouts.list_folder(str(folder))
    for path in first.paths:
        assert tf.io.read_file(file_index.full_path(listing, path)).shape == ()


def test_remote_files_are_read_through_tensorflow():
    for name, contents in (("a.jpg", _jpeg(0)), ("b.jpg", b"<html>")):
        path = f"ram://simclr_index/{name}"
        tf.io.gfile.makedirs("ram://simclr_index")
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(contents)
    index = file_index.build_index(layouts.list_folder("ram://simclr_index"))
    assert index.good.tolist() == [True, False] and "HTML" in index.error[1]
    assert index.size[0] == len(_jpeg(0))
