import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import DataConfig
from simclr_tf2.data import (
    datasets,
    opening,
    pipeline,
    record_files,
    records,
    sampling,
    stream_order,
    subset,
)
from simclr_tf2.errors import ConfigError


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
    parts = [contents(opened(files, f"a[{x}]")) for x in (":5", "5:9", "9:")]
    assert [len(part) for part in parts] == [5, 4, 2]
    assert all(part == sorted(part) for part in parts)
    assert sorted(itertools.chain(*parts)) == [(v, v % 3) for v in range(11)]
    joined = opened(files, "a[-2:]+b")
    assert contents(joined) == [*parts[2], (0, -1), (1, -1), (2, -1)]
    assert joined.num_examples == 5 and not joined.has_labels
    indices = [int(e["index"]) for e in joined.as_dataset().as_numpy_iterator()]
    assert indices == list(range(5))


@pytest.mark.parametrize("limit", [None, 0])
def test_every_image_once_an_epoch_held_or_streamed(files, monkeypatch, limit):
    if limit is not None:
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", limit)
    split = opened(files, "a[1:9]")
    expected = [value for value, _ in contents(split)]
    dataset = pipeline.make_supervised_dataset(
        split, pipeline.plan_batches(split, 4), image_size=8, seed=5
    )
    elements = list(dataset.take(4).as_numpy_iterator())
    for epoch in (elements[:2], elements[2:]):
        reds = np.concatenate([e["image"][:, 0, 0, 0] for e in epoch]) * 255
        assert sorted(np.rint(reds)) == expected


def test_a_streamed_slice_goes_on_at_any_step(files, monkeypatch):
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    split = opened(files, "a[1:10]")
    plan = pipeline.plan_batches(split, 4)
    arguments = {"image_size": 8, "seed": 5}
    whole = list(pipeline.make_supervised_dataset(split, plan, **arguments).take(5))
    for start in (1, 2, 3):
        (element,) = pipeline.make_supervised_dataset(
            split, plan, **arguments, start_step=start
        ).take(1)
        np.testing.assert_array_equal(element["index"], whole[start]["index"])
        np.testing.assert_array_equal(element["image"], whole[start]["image"])


@pytest.fixture
def by_class(tmp_path):
    """300 images of 10 classes, one after the other, in 10 files (or in one: x)."""
    for name, parts in (("c", 10), ("x", 1)):
        for part in range(parts):
            path = tmp_path / f"{name}-{part:02}.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for i in np.array_split(np.arange(300), parts)[part]:
                    writer.write(example(i % 250, i // 30))
    return tmp_path


def test_slices_and_limits_of_files_by_class_have_all_classes(by_class, monkeypatch):
    for spec in ("c[:40%]", "x[60%:]"):
        labels = [label for _, label in contents(opened(by_class, spec))]
        assert len(labels) == 120
        assert np.bincount(labels, minlength=10).min() > 4, labels
    split = opened(by_class, "c")
    for held in (datasets.MEMORY_LIMIT, 0):
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", held)
        found = pipeline.make_eval_dataset(
            split, batch_size=50, image_size=8, limit=100
        )
        elements = list(found.as_numpy_iterator())
        labels = np.concatenate([e["label"][e["mask"]] for e in elements])
        assert len(labels) == 100
        assert np.bincount(labels, minlength=10).min() >= 4, labels


def test_of_large_files_only_the_front_of_each_is_read(by_class, monkeypatch):
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    split = opened(by_class, "c")
    rows = sampling.sampled_rows(split, 20)
    assert len(rows) == 20 and (rows % 30 < 2).all()  # two records of each file
    part = sampling.sample(split, 20)
    labels = [int(e["label"]) for e in part.as_dataset().as_numpy_iterator()]
    np.testing.assert_array_equal(labels, rows // 30)
    again = sampling.sample(opened(by_class, "c[:50%]"), 20)
    assert again.num_examples == 20


def test_batches_streamed_from_files_by_class_are_of_all_classes(
    by_class, monkeypatch, caplog
):
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(records, "WINDOW_BYTES", 0)
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 60)

    def batches_of(name):
        split = opened(by_class, name)
        plan = pipeline.plan_batches(split, 60)
        return pipeline.make_supervised_dataset(split, plan, image_size=8, seed=5)

    for name in ("c", "x"):
        for element in batches_of(name).take(5):
            assert len(np.unique(element["label"])) >= 9
    assert "sorted by class" not in caplog.text
    monkeypatch.setattr(records, "SORTED_CHUNKS", 3)
    monkeypatch.setattr(pipeline, "_SAID", set())
    monkeypatch.setattr(stream_order, "LANES", 1)
    (element,) = batches_of("x").take(1)
    found = len(np.unique(element["label"]))
    assert found < 8
    said = f"60 images that training mixes first are of {found} of 10 classes"
    assert said in caplog.text


def test_windows_and_chunks_follow_from_the_bytes_of_an_image(by_class, monkeypatch):
    shards = opened(by_class, "x").source.shards
    mean = shards.num_bytes() / 300
    assert records.reading(shards) == {"chunk": 1, "window": 300}  # all that there is
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 20)
    monkeypatch.setattr(records, "SORTED_CHUNKS", 10)
    monkeypatch.setattr(records, "MIXED_CHUNKS", 5)
    monkeypatch.setattr(records, "WINDOW_BYTES", int(200.5 * mean))
    assert records.reading(shards) == {"chunk": 20, "window": 200}
    mixed = dataclasses.replace(shards, mixed=True)
    assert records.reading(mixed) == {"chunk": 40, "window": 200}
    monkeypatch.setattr(records, "CHUNK_BYTES", int(12.5 * mean))
    assert records.reading(mixed) == {"chunk": 12, "window": 200}
    fourth = dataclasses.replace(mixed, kept=np.arange(300) % 4 == 0)
    assert records.reading(fourth) == {"chunk": 3, "window": 75}
    monkeypatch.setattr(records, "WINDOW_BYTES", 0)
    assert records.reading(mixed) == {"chunk": 4, "window": 20}


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
