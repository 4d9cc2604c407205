import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ConfigError, DataConfig
from simclr_tf2.data import datasets, opening, pipeline, record_files, subset


def example(value, label):
    png = tf.io.encode_png(np.full([5, 4, 3], value, np.uint8)).numpy()
    feature = {"image/encoded": tf.train.Feature(bytes_list={"value": [png]})}
    if label is not None:
        feature["image/class/label"] = tf.train.Feature(int64_list={"value": [label]})
    return tf.train.Example(features={"feature": feature}).SerializeToString()


@pytest.fixture
def files(tmp_path):
    """Splits a (7 + 4 images, classes 0 to 2) and b (3 images without label)."""
    for name, values in (("a-0", range(7)), ("a-1", range(7, 11)), ("b-0", range(3))):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as writer:
            for value in values:
                writer.write(example(value, value % 3 if name[0] == "a" else None))
    return tmp_path


def opened(files, split, **changes):
    settings = {
        "tfrecords": f"{files}/{{split}}-*.tfrecord",
        "data_dir": str(files / "data"),
        "image_key": "image/encoded",
        "label_key": "image/class/label",
        **changes,
    }
    return opening.open_split(DataConfig(**settings), split)


def contents(split):
    return [
        (int(split.source.decode(e)[0, 0, 0]), int(e["label"]))
        for e in split.as_dataset().as_numpy_iterator()
    ]


def test_records_of_a_split_in_order_with_labels(files):
    split = opened(files, "a")
    assert (split.num_examples, split.num_classes, split.has_labels) == (11, 3, True)
    assert contents(split) == [(v, v % 3) for v in range(11)]


def test_minus_one_or_no_label_is_no_label(files):
    with tf.io.TFRecordWriter(str(files / "a-2.tfrecord")) as writer:
        writer.write(example(11, -1))
        writer.write(example(12, None))
    split = opened(files, "a")
    assert not split.has_labels and split.num_classes == 3
    assert contents(split)[-2:] == [(11, -1), (12, -1)]
    assert opened(files, "a[:11]").has_labels
    part = subset.labelled_part(split)
    assert part.has_labels and part.num_examples == 11
    assert not opened(files, "a").has_labels  # from what was kept


def test_a_folder_says_which_pattern_reads_it(files):
    with pytest.raises(ConfigError, match="is a folder.*--tfrecords=.*[*].tfrecord"):
        opened(files, "train", tfrecords=str(files))
    (files / "photos").mkdir()
    with pytest.raises(ConfigError, match="is a folder.*--image_dir=.*photos"):
        opened(files, "train", tfrecords=str(files / "photos"))


def test_a_split_of_another_spelling_is_found(files):
    for name in ("train", "val"):
        with tf.io.TFRecordWriter(str(files / f"{name}-0.tfrecord")) as writer:
            writer.write(example(1, 0))
    assert opened(files, "validation").num_examples == 1


def test_slices_and_sums_cut_inside_files(files):
    assert [v for v, _ in contents(opened(files, "a[5:9]"))] == [5, 6, 7, 8]
    joined = opened(files, "a[-2:]+b")
    assert contents(joined) == [(9, 0), (10, 1), (0, -1), (1, -1), (2, -1)]
    assert not joined.has_labels


@pytest.mark.parametrize("limit", [None, 0])
def test_every_image_once_an_epoch_held_or_streamed(files, monkeypatch, limit):
    if limit is not None:
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", limit)
    dataset = pipeline.make_supervised_dataset(
        opened(files, "a[1:9]"), global_batch_size=4, image_size=8, seed=5
    )
    elements = list(dataset.take(4).as_numpy_iterator())
    for epoch in (elements[:2], elements[2:]):
        reds = np.concatenate([e["image"][:, 0, 0, 0] for e in epoch]) * 255
        assert sorted(np.rint(reds)) == list(range(1, 9))


def test_counts_are_kept_until_a_file_changes(files, monkeypatch):
    opened(files, "a")
    monkeypatch.setattr(record_files, "_count", None)
    assert opened(files, "a").num_examples == 11
    with tf.io.TFRecordWriter(str(files / "a-0.tfrecord")) as writer:
        writer.write(example(1, 1))
    monkeypatch.undo()
    assert opened(files, "a").num_examples == 5


def test_mistakes_are_one_line(files):
    for split, changes, message in (
        ("c", {}, "no file for split 'c'"),
        ("a", {"image_key": "image"}, "only: image/class/label, image/encoded"),
        ("x", {"tfrecords": f"{files}/a-*.tfrecord"}, "put {split} into the pattern"),
    ):
        with pytest.raises(ConfigError) as caught:
            opened(files, split, **changes)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_file_is_named(files):
    whole = (files / "a-1.tfrecord").read_bytes()
    (files / "a-1.tfrecord").write_bytes(whole[:-9])
    with pytest.raises(ConfigError, match="a-1.tfrecord is damaged"):
        opened(files, "a")
    (files / "b-0.tfrecord").write_bytes(b"not a record at all, whatever it says")
    with pytest.raises(ConfigError, match="b-0.tfrecord is not a TFRecord file"):
        opened(files, "b")
