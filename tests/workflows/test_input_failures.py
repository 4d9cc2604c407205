"""Errors of TensorFlow in training: only those of reading images look for a file."""

import pytest
import tensorflow as tf

from simclr_tf2.data import datasets
from simclr_tf2.errors import RunFailed
from simclr_tf2.training import input_failures, session
from tests.support.tiny_runs import run


def undecodable(index):
    png = tf.io.encode_png(tf.zeros([4, 4, 3], tf.uint8))
    image = tf.io.decode_image(tf.where(index > 0, b"no image", png))
    return tf.reduce_sum(tf.cast(image, tf.float32))


def missing(index):
    path = tf.where(index > 0, "/no/such/file", __file__)
    return tf.cast(tf.strings.length(tf.io.read_file(path)), tf.float32)


def fine(index):
    return tf.cast(index, tf.float32)


def wrong_step(value):
    return tf.gather([value], 99)


@pytest.mark.parametrize(
    ("make", "step", "of_the_input"),
    [
        (undecodable, tf.identity, True),
        (missing, tf.identity, True),
        (fine, wrong_step, False),
    ],
)
def test_an_error_of_the_input_is_told_from_one_of_the_step(
    two_replicas, make, step, of_the_input
):
    for strategy in (tf.distribute.OneDeviceStrategy("/cpu:0"), two_replicas):
        dataset = strategy.distribute_datasets_from_function(
            lambda context: tf.data.Dataset.range(8).map(make).prefetch(1)
        )
        iterator = iter(dataset)

        @tf.function
        def chunk(iterator, strategy=strategy):
            values = strategy.run(step, args=(next(iterator),))
            return strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)

        with pytest.raises(tf.errors.OpError) as caught:
            for _ in range(4):
                chunk(iterator)
        assert input_failures.is_of_the_input(caught.value) == of_the_input


@pytest.mark.parametrize(
    "kind",
    [
        tf.errors.ResourceExhaustedError,
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
    ],
)
def test_the_machines_errors_are_no_files_wherever_they_arise(kind):
    error = kind(None, None, "lost [[IteratorGetNext]]")
    assert not input_failures.is_of_the_input(error)


OUT_OF_MEMORY = tf.errors.ResourceExhaustedError(
    None, None, "OOM when allocating tensor with shape[9,9]\n [[{{node x}}]]"
)
LOST = tf.errors.InternalError(None, None, "CUDA_ERROR_LAUNCH_FAILED")


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OUT_OF_MEMORY, RunFailed, "out of memory .OOM when allocating.*batch_size"),
        (LOST, tf.errors.InternalError, "CUDA_ERROR"),
    ],
)
def test_no_image_is_read_after_an_error_that_is_no_files(
    data_dir, tmp_path, monkeypatch, error, raised, message
):
    def fail(*arguments, **settings):
        raise error

    def read_all(self):
        raise AssertionError("every image would be read")

    monkeypatch.setattr(session.loop, "train", fail)
    monkeypatch.setattr(datasets.sources.RecordSource, "first_broken", read_all)
    with pytest.raises(raised, match=message) as caught:
        run(tmp_path / "run", data_dir, mode="finetune", train_split="train")
    assert raised is not RunFailed or "\n" not in str(caught.value)
