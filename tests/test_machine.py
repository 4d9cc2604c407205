"""How many cores may be used: what is scheduled on, and the quota of a container."""

import os

import pytest
import tensorflow as tf

from simclr_tf2 import machine, startup
from simclr_tf2.data import pipeline
from tests import command_line

V1 = "5:cpu,cpuacct:{}\n4:memory:/elsewhere\n1:name=systemd:/elsewhere\n"
V2 = "0::{}\n"


@pytest.fixture
def many_cores(monkeypatch):
    """Sixteen of them, none with a limit of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), False)


def system(root, groups, **files):
    """A root folder with what Linux tells of control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v1(folder, quota, period="100000"):
    top = f"sys/fs/cgroup/cpu,cpuacct/{folder}"
    return {f"{top}cpu.cfs_quota_us": quota, f"{top}cpu.cfs_period_us": period}


def v2(folder, text):
    return {f"sys/fs/cgroup/{folder}cpu.max": text}


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        pytest.param(V2.format("/"), v2("", "200000 100000\n"), 2, id="v2"),
        pytest.param(V2.format("/"), v2("", "max 100000\n"), 16, id="v2 no limit"),
        pytest.param(V2.format("/"), v2("", "150000 100000\n"), 2, id="rounds up"),
        pytest.param(V2.format("/"), v2("", "1000 100000\n"), 1, id="at least one"),
        pytest.param(V2.format("/"), v2("", "9900000 100000\n"), 16, id="v2 above all"),
        pytest.param(V2.format("/"), v2("", "nonsense"), 16, id="v2 unreadable"),
        pytest.param(
            V2.format("/slice/job"),
            {**v2("slice/", "300000 100000"), **v2("slice/job/", "max 100000")},
            3,
            id="v2 limit of a group above",
        ),
        pytest.param(
            V2.format("/docker/of/the/host"),
            v2("", "400000 100000"),
            4,
            id="v2 path of the host",
        ),
        pytest.param(V1.format("/"), v1("", "50000", "10000"), 5, id="v1"),
        pytest.param(V1.format("/"), v1("", "-1"), 16, id="v1 no limit"),
        pytest.param(V1.format("/"), v1("", "200000", "0"), 16, id="v1 unreadable"),
        pytest.param(
            V1.format("/docker/of/the/host"), v1("", "200000"), 2, id="v1 host's path"
        ),
        pytest.param(
            V1.format("/docker/job"),
            {**v1("", "-1"), **v1("docker/job/", "700000")},
            7,
            id="v1 own group",
        ),
        pytest.param("", {}, 16, id="no group"),
    ],
)
def test_usable_cores_are_those_of_the_quota(
    tmp_path, many_cores, groups, files, cores
):
    assert machine.usable_cores(system(tmp_path, groups, **files)) == cores


def test_without_linux_control_groups_all_schedulable_cores_are_usable(
    tmp_path, many_cores
):
    assert machine.usable_cores(tmp_path) == machine.schedulable_cores() == 16


def test_a_task_set_counts_where_it_is_smaller_than_the_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, False)
    root = system(tmp_path, V2.format("/"), **v2("", "300000 100000"))
    assert machine.usable_cores(root) == 1


# A process on 16 cores of which a container may use 3.
IN_A_CONTAINER = f"""
import os, pathlib, sys
sys.path.insert(0, {str(command_line.ROOT)!r})
from simclr_tf2 import machine, startup
os.sched_getaffinity = lambda _: set(range(16))
machine.usable_cores.__defaults__ = (pathlib.Path(sys.argv[1]),)
startup.choose_kernels()
"""
ASK = """
startup.start_tensorflow()
import numba, threadpoolctl
blas = [p["num_threads"] for p in threadpoolctl.threadpool_info()]
print([os.environ.get(name) for name in startup.THREADS])
print(numba.config.NUMBA_NUM_THREADS, set(blas))
"""


def in_a_container(root, code, **extra):
    limits = dict.fromkeys(startup.THREADS)
    return command_line.python(IN_A_CONTAINER + code, root, **{**limits, **extra})


def test_threads_of_every_library_follow_the_quota(tmp_path):
    root = system(tmp_path, V2.format("/"), **v2("", "100000 100000"))
    environment, libraries = in_a_container(root, ASK).splitlines()[-2:]
    assert environment == str(["1"] * len(startup.THREADS))
    assert libraries == "1 {1}"  # of Numba, of each BLAS and OpenMP


def test_the_threads_that_the_user_set_stay(tmp_path):
    root = system(tmp_path, V2.format("/"), **v2("", "300000 100000"))
    code = "print(os.environ['OMP_NUM_THREADS'], os.environ['NUMBA_NUM_THREADS'])"
    assert in_a_container(root, code, OMP_NUM_THREADS="5").strip() == "5 3"


def test_without_a_quota_each_library_finds_its_threads_itself(tmp_path):
    root = system(tmp_path, V2.format("/"), **v2("", "max 100000"))
    code = "print([name for name in startup.THREADS if name in os.environ])"
    assert in_a_container(root, code).strip() == "[]"


def test_the_input_uses_no_more_threads_than_the_quota(many_cores, monkeypatch):
    """tf.data counts the cores that it is scheduled on, which is too many."""
    dataset = tf.data.Dataset.range(3)
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    assert pipeline._finish(dataset).options().threading.private_threadpool_size == 3
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    assert not pipeline._finish(dataset).options().threading.private_threadpool_size
