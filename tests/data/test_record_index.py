import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import record_index
from simclr_tf2.errors import ConfigError

SIZES = ([3, 0, 300], [], [70_000])


def write(folder, sizes=SIZES):
    paths = [f"{folder}/{number}.tfrecord" for number in range(len(sizes))]
    for path, lengths in zip(paths, sizes, strict=True):
        with tf.io.TFRecordWriter(path) as writer:
            for length in lengths:
                writer.write(b"x" * length)
    return paths


def expected(sizes=SIZES):
    return [np.cumsum([0, *(length + 16 for length in found)]) for found in sizes]


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.int64
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    """A folder on this disk, and one of another file system of TensorFlow."""
    if request.param == "local":
        return str(tmp_path)
    tf.io.gfile.makedirs(f"ram://{tmp_path}")
    return f"ram://{tmp_path}"


def test_records_are_found_where_they_were_written(folder):
    paths = write(folder)
    assert_equal(record_index.boundaries(paths, folder=None), expected())
    again = record_index.boundaries([paths[2], paths[0], paths[2]], folder=None)
    assert_equal(again, [expected()[n] for n in (2, 0, 2)])


def test_places_are_kept_until_a_file_changes(folder, monkeypatch, caplog):
    paths, kept = write(folder), f"{folder}/index"
    record_index.boundaries(paths, folder=kept)
    with monkeypatch.context() as patch:
        patch.setattr(record_index, "_sizes", None)
        assert_equal(record_index.boundaries(paths, folder=kept), expected())
    other = ([3, 0, 300], [5, 5], [70_000])
    for path in paths:
        tf.io.gfile.remove(path)
    write(folder, other)
    assert_equal(record_index.boundaries(paths, folder=kept), expected(other))
    assert "cannot be used" not in caplog.text


def test_a_damaged_index_is_made_anew(tmp_path, caplog):
    paths, kept = write(tmp_path), tmp_path / "index"
    record_index.boundaries(paths, folder=str(kept))
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert_equal(record_index.boundaries(paths, folder=str(kept)), expected())
    np.savez(file, sizes=np.array([4], np.uint32), counts=[1, 0, 0])
    assert_equal(record_index.boundaries(paths, folder=str(kept)), expected())
    assert caplog.text.count("made anew") == 2


def test_a_folder_that_cannot_be_written_is_logged(tmp_path, caplog):
    paths = write(tmp_path)
    (tmp_path / "taken").write_text("a file")
    found = record_index.boundaries(paths, folder=str(tmp_path / "taken"))
    assert_equal(found, expected())
    assert "could not be kept in" in caplog.text


@pytest.mark.parametrize("keep", [-1, -70_010])
def test_a_file_that_ends_within_a_record_is_named(tmp_path, keep):
    path = write(tmp_path)[2]
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole[:keep])
    with pytest.raises(
        ConfigError, match=r"2.tfrecord is damaged: record 0, at byte 0"
    ):
        record_index.boundaries([path], folder=None)
