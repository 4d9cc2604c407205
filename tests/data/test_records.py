"""Streams of record files: what is read, by whom, and that it is what was written."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import records
from simclr_tf2.data.order import BatchPlan
from simclr_tf2.errors import ConfigError

SIZE = 20_000  # bytes of a record, about


def write(folder, counts):
    """Files whose records hold their number in the split, as labels too."""
    number = 0
    for file, count in enumerate(counts):
        with tf.io.TFRecordWriter(f"{folder}/{file}.tfrecord") as writer:
            for _ in range(count):
                image = number.to_bytes(2, "little") * (SIZE // 2 - number)
                bytes_list = tf.train.BytesList(value=[image])
                int64_list = tf.train.Int64List(value=[number])
                feature = {
                    "image": tf.train.Feature(bytes_list=bytes_list),
                    "label": tf.train.Feature(int64_list=int64_list),
                }
                example = tf.train.Example(features={"feature": feature})
                writer.write(example.SerializeToString())
                number += 1
    counts = np.array(counts)
    return records.Shards(
        files=tuple(f"{folder}/{file}.tfrecord" for file in range(len(counts))),
        skip=0 * counts,
        take=counts,
        in_file=counts,
        file_format="tfrecord",
        label_key="label",
        mixed=True,
    )


@pytest.fixture(params=[(240,), (50, 3, 100, 0, 87)], ids=["one file", "files"])
def shards(request, tmp_path, monkeypatch):
    """240 images of about 20 kB; windows of 48 images in chunks of 6."""
    monkeypatch.setattr(records, "WINDOW_BYTES", 0)
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 48)
    monkeypatch.setattr(records, "MIXED_CHUNKS", 8)
    return write(tmp_path, request.param)


def stream(shards, *, steps, batch=24, start_step=0, **share):
    plan = BatchPlan(
        num_examples=int(shards.counts.sum()), global_batch_size=batch, **share
    )
    dataset = records.stream(shards, plan, seed=3, start_step=start_step)
    return list(dataset.take(steps * plan.per_worker).as_numpy_iterator())


def indices(elements):
    return [int(e["index"]) for e in elements]


def test_an_element_is_the_record_of_its_index(shards):
    elements = stream(shards, steps=20)
    assert [sorted(indices(e)) for e in (elements[:240], elements[240:])] == [
        list(range(240))
    ] * 2
    for e in elements:
        assert e["label"] == e["index"]
        number = int(e["index"]).to_bytes(2, "little")
        assert e["image"] == number * (SIZE // 2 - e["index"])


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_join_to_the_batches_of_one(shards, workers):
    whole = np.reshape(indices(stream(shards, steps=12)), [12, 24])
    shares = [
        np.reshape(
            indices(stream(shards, steps=12, num_workers=workers, worker_index=w)),
            [12, -1],
        )
        for w in range(workers)
    ]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_a_start_at_any_step_goes_on_with_the_same_images(shards):
    whole = np.reshape(indices(stream(shards, steps=24)), [24, 24])
    for start in (1, 2, 9, 10, 23):
        found = indices(stream(shards, steps=1, start_step=start))
        np.testing.assert_array_equal(found, whole[start])


def test_a_slice_and_a_choice_of_records_stream_what_is_in_order(shards):
    kept = np.random.default_rng(0).random(240) < 0.4
    cut = dataclasses.replace(
        shards,
        skip=np.minimum(shards.take, 2),
        take=np.maximum(shards.take - 5, 0),
        kept=kept[: np.maximum(shards.take - 5, 0).sum()],
    )
    in_order = [int(e["label"]) for e in cut.in_order().as_numpy_iterator()]
    assert len(in_order) == cut.counts.sum() and max(in_order) < 238
    elements = stream(cut, batch=len(in_order), steps=1)
    assert sorted(indices(elements)) == list(range(len(in_order)))
    assert all(in_order[e["index"]] == e["label"] for e in elements)


def characters_read():
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="needs Linux")
class TestBytes:
    """Bytes that the kernel hands to this process, in parts of all the files."""

    def part_read(self, shards, *, steps, **reading):
        assert shards.spans  # the lengths are known
        before = characters_read()
        found = stream(shards, steps=steps, **reading)
        assert len(found) == steps * 24 // reading.get("num_workers", 1)
        return (characters_read() - before) / shards.num_bytes()

    @pytest.mark.parametrize("workers", [1, 2, 8, 24])
    def test_a_worker_reads_its_share_of_the_files(self, shards, workers):
        # 30 steps of 24 images are 3 epochs; up to 2 windows of 2 steps are ahead.
        found = self.part_read(shards, steps=30, num_workers=workers)
        assert 3 / workers * 0.95 < found < (3 + 4 / 10) / workers * 1.05

    def test_a_resumed_run_reads_nothing_of_what_it_has_seen(self, shards):
        found = self.part_read(shards, steps=1, start_step=9)
        assert found < 3 * 2 / 10 * 1.05  # its window, and up to two ahead


def test_a_first_window_gives_its_labels(shards):
    found = records.first_labels(shards, seed=3)
    assert len(found) == len(set(found)) == 48 and found.max() < 240


def test_files_that_cannot_be_streamed_are_refused_in_one_line(shards):
    other = dataclasses.replace(shards, file_format="array_record")
    with pytest.raises(ConfigError, match="must be stored as tfrecord.*array_record"):
        stream(other, steps=1)
    wrong = dataclasses.replace(shards, in_file=shards.in_file + 1)
    with pytest.raises(ConfigError, match="0.tfrecord has .* records, and .* were"):
        stream(wrong, steps=1)
