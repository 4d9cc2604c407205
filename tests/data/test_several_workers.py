"""What a step sees of its batch under TensorFlow's strategy for several workers."""

import contextlib
import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import command_line

# Both kinds of source: a stream of files, and images in memory that are read by index.
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
from simclr_tf2.data import array_files, datasets, pipeline, record_files
from simclr_tf2.data.views import ViewSpec

strategy = tf.distribute.MultiWorkerMirroredStrategy()
assert strategy.extended._in_multi_worker_mode()
datasets.MEMORY_LIMIT = 0
streamed = record_files.open_record_split(sys.argv[1], "train", data_dir=sys.argv[2])
assert not pipeline.is_readable_by_index(streamed)
held = array_files.from_arrays(np.zeros([12, 8, 8, 3], np.uint8))
views = ViewSpec(image_size=8, strength=0.5, use_blur=False)

def make(split):
    return strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_pretrain_dataset(
            split, pipeline.plan_batches(split, 4, context), views, seed=0
        )
    )

def step(batch):
    print("traced with", [tuple(x.shape) for x in tf.nest.flatten(batch)])
    return tf.reduce_sum(batch["index"])

for split in (streamed, held):
    iterator = iter(make(split))
    tf.function(lambda: strategy.run(step, args=(next(iterator),)))()
"""


def free_ports(count):
    with contextlib.ExitStack() as opened:
        taken = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in taken]


def places(folder):
    """Arguments of PROGRAM."""
    return [str(folder / "images.tfrecord"), str(folder / "data")]


@pytest.mark.slow
def test_a_step_is_traced_with_the_rows_of_its_batch(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "images.tfrecord")) as writer:
        for value in range(12):
            png = tf.io.encode_png(np.full([8, 8, 3], value, np.uint8)).numpy()
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
            example = tf.train.Example(features={"feature": {"image": image}})
            writer.write(example.SerializeToString())
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *places(tmp_path)],
            cwd=command_line.ROOT,
            env=command_line.environment(
                TF_CONFIG=json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                )
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        printed = [worker.communicate(timeout=200) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    shapes = "traced with [(2,), (2,), (2, 8, 8, 3), (2, 8, 8, 3)]"
    for worker, (out, error) in zip(workers, printed, strict=True):
        assert worker.returncode == 0, error[-2000:]
        traced = [line for line in out.splitlines() if line.startswith("traced")]
        assert set(traced) == {shapes} and len(traced) == 2
