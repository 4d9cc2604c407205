"""tf.data service with a local dispatcher and two workers."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import datasets, order, pipeline, records, service
from simclr_tf2.data.array_files import from_arrays
from simclr_tf2.data.views import ViewSpec
from tests import command_line
from tests.command_line import ROOT, TINY


@pytest.fixture(scope="module")
def address():
    """A service in this process."""
    dispatcher = service.dispatcher(port=0)
    place = dispatcher.target.removeprefix("grpc://")
    workers = [service.worker(place) for _ in range(2)]
    while dispatcher._num_workers() < len(workers):  # a job needs both to be dealt out
        time.sleep(0.05)
    yield dispatcher.target
    del workers


def held(data_dir, monkeypatch):
    """23 images in memory."""
    return datasets.open_split("tiny_gray", "train", data_dir=data_dir)


def streamed(data_dir, monkeypatch):
    """23 images that are streamed from files, in windows of two batches."""
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(records, "WINDOW_BYTES", 0)
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 8)
    return datasets.open_split("tiny_sizes", "train", data_dir=data_dir)


def test_two_workers_make_every_batch_exactly_once(address):
    images = np.random.default_rng(0).integers(0, 255, [12, 9, 9, 3], np.uint8)
    split = from_arrays(images, np.arange(12))

    def elements(count, **settings):
        dataset = pipeline.make_pretrain_dataset(
            split,
            pipeline.plan_batches(split, 4),
            ViewSpec(image_size=8, strength=0.5, use_blur=False),
            seed=0,
            **settings,
        )
        return list(dataset.take(count).as_numpy_iterator())

    here = {tuple(e["index"]): e["views"][0] for e in elements(72)}
    there = elements(36, service=address)
    keys = [tuple(e["index"]) for e in there]
    assert len(set(keys)) == 36 and set(keys) <= set(here)
    for e in there:
        np.testing.assert_array_equal(e["views"][0], here[tuple(e["index"])])


@pytest.mark.parametrize("stored", [held, streamed])
def test_two_trainers_of_one_service_get_their_own_rows(
    address, data_dir, monkeypatch, cheap_views, stored
):
    split = stored(data_dir, monkeypatch)
    plans = [
        order.BatchPlan(
            num_examples=23,
            global_batch_size=4,
            num_workers=2,
            worker_index=worker,
            replicas_per_worker=1,
        )
        for worker in range(2)
    ]

    def made(plan, **settings):
        return pipeline.make_pretrain_dataset(
            split,
            plan,
            ViewSpec(image_size=2, strength=0.5, use_blur=False),
            seed=0,
            **settings,
        )

    trainers = [made(plan, service=address) for plan in plans]
    for dataset in trainers:
        assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
        assert dataset.element_spec["views"][0].shape == [2, 2, 2, 3]
    iterators = [dataset.as_numpy_iterator() for dataset in trainers]
    found = [[], []]
    for _ in range(40):  # eight epochs, in turn
        for elements, iterator in zip(found, iterators, strict=True):
            elements.append(next(iterator))
    for plan, elements in zip(plans, found, strict=True):
        # The views of an image tell the epoch. The service may be ahead by some.
        alone = made(plan).take(200).as_numpy_iterator()
        here = {e["views"][0].tobytes() for e in alone}
        there = {e["views"][0].tobytes() for e in elements}
        assert len(there) == 40 and there <= here


@pytest.mark.slow
def test_training_is_fed_by_a_service_of_three_processes(tmp_path, data_dir_of_shapes):
    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "simclr_tf2.data.service", *arguments],
            cwd=ROOT,
            env=command_line.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        return process, process.stdout.readline().strip()

    dispatcher, line = start("dispatcher")
    target = line.removeprefix("dispatcher at ")
    place = target.removeprefix("grpc://")
    workers = [start("worker", f"--dispatcher={place}")[0] for _ in range(2)]
    try:
        done = command_line.run(
            *TINY,
            f"--data_service={target}",
            f"--data_dir={data_dir_of_shapes}",
            f"--model_dir={tmp_path / 'run'}",
            "--protocols=",
            "--export_formats=",
            "--noreport",
        )
    finally:
        for process in (dispatcher, *workers):
            process.kill()
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").open()]
    assert lines[-1]["step"] == 12 and np.isfinite(lines[-1]["loss"])
