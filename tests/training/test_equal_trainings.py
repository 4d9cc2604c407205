"""Trainings in float64 are the same on 1, 2, 4 and 8 devices, and on 2 workers of 2."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.command_line import ROOT, environment
from tests.support import equal_trainings

pytestmark = pytest.mark.slow
LIMIT = 1e-10  # of the largest number of an array; measured: below 1e-12
SECONDS = 600


def start(out, records, devices, tf_config=None):
    return subprocess.Popen(
        [
            sys.executable,
            *("-m", "tests.support.equal_trainings", out, records),
            f"--devices={devices}",
        ],
        cwd=ROOT,
        env=environment(TF_CONFIG=tf_config and json.dumps(tf_config)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    """Wait for all; none is left behind when one of them fails."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def trained(folder, records, where):
    """What each process found, by case."""
    workers, _, devices = where.rpartition("x")
    count = int(workers or 1)
    outs = [folder / f"{where}-{worker}.npz" for worker in range(count)]
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
    finish(
        [
            start(
                out,
                records,
                devices,
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
                if workers
                else None,
            )
            for index, out in enumerate(outs)
        ]
    )
    return [by_case(out) for out in outs]


def by_case(path):
    found = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            case, name = key.split("/", 1)
            found.setdefault(case, {})[name] = arrays[key]
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    equal_trainings.write_records(folder)
    return folder


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, records):
    return trained(tmp_path_factory.mktemp("one"), records, "1")[0]


@pytest.mark.parametrize("where", ["2", "4", "8", "2x2"])
def test_losses_gradients_statistics_and_weights_are_those_of_one_device(
    tmp_path, records, one_device, where
):
    replicas = {"2x2": "4"}.get(where, where)
    cases = [k for k, case in equal_trainings.CASES.items() if where in case.on]
    assert {"plain", "device", "streamed", "finetune"} <= {*cases}
    for worker in trained(tmp_path, records, where):
        assert sorted(worker) == sorted(cases)
        for case, found in worker.items():
            expected = one_device.get(case) or one_device[f"{case}_{replicas}"]
            assert found.keys() == expected.keys(), case
            for name, value in found.items():
                scale = np.abs(expected[name]).max()
                error = np.abs(value - expected[name]).max()
                assert error <= LIMIT * scale, (case, name, error, scale)


def test_the_trainings_learn_and_another_batch_norm_would_show(one_device):
    for name, case in equal_trainings.CASES.items():
        found = one_device.get(name) or one_device[f"{name}_2"]
        moved = {k: v for k, v in found.items() if k.startswith("moved/")}
        still = {k for k, v in moved.items() if not v.any()}
        statistics = case.micro and case.micro_norm == "frozen"
        for key in still:
            assert (
                (statistics and "moving" in key)
                or (case.finetune and "projection" in key)
                or (case.frozen >= 0 and "stem" in key)
            ), (name, key)
        assert len(still) < len(moved) / 2, name
        if not case.chunked:
            assert len({*found["scalar/loss"]}) == case.count, name
    by_two, by_four = one_device["micro_norm_2"], one_device["micro_norm_4"]
    other = by_two["scalar/loss"] - by_four["scalar/loss"]
    assert np.abs(other).max() > 1e-4
