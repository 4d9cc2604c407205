"""Images per second of streamed records, and the bytes that each of many hosts reads.

Writes TFRecord files of random bytes in the size of ImageNet's JPEG files (or of
``--record_bytes``) to a temporary folder, and reads them as training does, without
decoding. The files are in the page cache, so that the time is that of the program and
not of a disk. "TFRecordDataset" reads 16 files in turn, in order, as a lower bound.
A measurement covers several epochs, because both streams read up to a window ahead.
Bytes are those that the kernel counts for the process (Linux), from the end of an epoch
to the end of a later one. Cases take turns in processes of their own. Run::

    python -m benchmarks.stream [--rounds 5] [--record_bytes 110000] [--before ../old]

``--before`` names a checkout of another commit whose stream is measured as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable

from benchmarks import interleaved

BATCH = 512
TOTAL_BYTES = 600 << 20
FILES = 32
HOSTS = (1, 8, 32)
EPOCHS = 4


def write_files(folder: str, record_bytes: int) -> list[int]:
    """Write the record files; return the records of each."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    per_file = TOTAL_BYTES // record_bytes // FILES
    for number in range(FILES):
        with tf.io.TFRecordWriter(f"{folder}/{number:03}.tfrecord") as writer:
            for size in random.uniform(0.5, 1.5, per_file) * record_bytes:
                image = random.bytes(int(size))
                feature = tf.train.Feature(bytes_list={"value": [image]})
                example = tf.train.Example(features={"feature": {"image": feature}})
                writer.write(example.SerializeToString())
    return [per_file] * FILES


def open_stream(folder: str, counts: list[int], hosts: int):
    """Return the dataset of the first of ``hosts`` hosts, and its rows per epoch."""
    import numpy as np

    from simclr_tf2.data import order, records

    shards = records.Shards(
        files=tuple(f"{folder}/{n:03}.tfrecord" for n in range(FILES)),
        skip=np.zeros(FILES, np.int64),
        take=np.array(counts),
        in_file=np.array(counts),
        file_format="tfrecord",
        label_key=None,
        mixed=True,
    )
    plan = order.BatchPlan(
        num_examples=sum(counts), global_batch_size=BATCH, num_workers=hosts
    )
    dataset = records.stream(shards, plan, seed=0, start_step=0)
    return dataset, plan.steps_per_epoch * plan.per_worker


def in_order(folder: str, counts: list[int]):
    """Return all records, of 16 files in turn, again and again."""
    import tensorflow as tf

    files = tf.data.Dataset.list_files(f"{folder}/*.tfrecord", shuffle=False).repeat()
    return files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ), sum(counts)


def use(tree: str) -> None:
    """Import simclr_tf2 from a checkout from here on."""
    sys.path.insert(0, os.path.abspath(tree))
    for name in [m for m in sys.modules if m.split(".")[0] == "simclr_tf2"]:
        del sys.modules[name]


def build(tree: str, folder: str, counts: list[int]) -> Callable[[], None]:
    """Return a function that reads EPOCHS epochs, in batches."""
    if tree:
        use(tree)
    make = in_order if tree == "" else lambda *found: open_stream(*found, 1)
    dataset, count = make(folder, counts)
    batches = iter(dataset.batch(BATCH))

    def run() -> None:
        for _ in range(EPOCHS * count // BATCH):
            next(batches)

    return run


def bytes_read(tree: str, folder: str, counts: list[int], hosts: int) -> int:
    """Return the bytes that the first of ``hosts`` hosts reads in an epoch."""
    use(tree)
    dataset, rows = open_stream(folder, counts, hosts)
    elements = enumerate(dataset.take((EPOCHS + 1) * rows + 1))
    found = [_characters() for n, _ in elements if n % rows == 0]
    return (found[-1] - found[1]) // (len(found) - 2)


def _characters() -> int:
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record_bytes", type=int, default=110_000)
    parser.add_argument("--before", help="checkout of another commit")
    given = parser.parse_args()
    trees = {"this stream": "."} | (
        {"the other stream": given.before} if given.before else {}
    )
    with tempfile.TemporaryDirectory() as folder:
        counts = write_files(folder, given.record_bytes)
        cases = {
            name: (build, (tree, folder, counts))
            for name, tree in {"TFRecordDataset": "", **trees}.items()
        }
        times = interleaved.take_turns(cases, rounds=given.rounds, repeats=1)
        print(f"images/s, {sum(counts)} records of {given.record_bytes} bytes: median")
        for name, found in times.items():
            images = EPOCHS * sum(counts)
            wall = [images / seconds for seconds in found["wall"]]
            busy = [images / seconds for seconds in found["cpu"]]
            print(f"{name:>17} {interleaved.show(wall)}")
            print(f"{'a CPU-second':>17} {interleaved.show(busy)}")
        size = sum(f.stat().st_size for f in os.scandir(folder))
        print("parts of the files that a host reads in an epoch")
        for name, tree in trees.items():
            for hosts in HOSTS:
                found = interleaved.alone(bytes_read, tree, folder, counts, hosts)
                print(f"{name:>17} {hosts:3} hosts {found / size:6.3f}")


if __name__ == "__main__":
    main()
