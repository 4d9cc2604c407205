"""The workers of a run, from --cluster or TF_CONFIG."""

import json
import socket

import pytest

from simclr_tf2.config import DistributionConfig
from simclr_tf2.distribution import Cluster, cluster_of
from simclr_tf2.errors import ConfigError

WORKERS = ["a:1", "b:2", "c:3"]


def tf_config(task=None, **cluster):
    return json.dumps({"cluster": cluster, "task": task or {}})


def test_the_cluster_flag_comes_before_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "not JSON")
    config = DistributionConfig(cluster=("a:1", "b:2"), task_index=1)
    assert cluster_of(config) == Cluster(("a:1", "b:2"), 1)


@pytest.mark.parametrize("text", ["", "  ", "{}", tf_config(ps=["a:1"])])
def test_without_workers_there_is_no_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert cluster_of(DistributionConfig()) is None


@pytest.mark.parametrize(
    ("task", "index"),
    [({"type": "chief", "index": 0}, 0), ({"type": "worker", "index": 1}, 2)],
)
def test_a_chief_is_the_first_worker(task, index, monkeypatch):
    text = tf_config(task, chief=["a:1"], worker=["b:2", "c:3"])
    monkeypatch.setenv("TF_CONFIG", text)
    assert cluster_of(DistributionConfig()) == Cluster(tuple(WORKERS), index)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"cluster": [], "task": {}}', '"cluster" and "task" must be JSON objects'),
        (tf_config(worker="a:1"), '"worker" must be a list of "host:port"'),
        (tf_config(worker=["a"]), '"worker" must be a list of "host:port"'),
        (tf_config(worker=["a:99999"]), '"worker" must be a list of "host:port"'),
        (tf_config(worker=WORKERS), 'must have "type" and "index"'),
        (tf_config({"type": "worker"}, worker=WORKERS), 'must have "type" and "index"'),
        (
            tf_config({"type": "worker", "index": 3}, worker=WORKERS),
            "3 of .* is not one of the 3",
        ),
        (
            tf_config({"type": "worker", "index": "0"}, worker=WORKERS),
            "'0' of .* is not one of the 3",
        ),
        (
            tf_config({"type": "evaluator", "index": 0}, worker=WORKERS),
            '"evaluator" does not train.*--mode=eval',
        ),
        (
            tf_config({"type": "chief", "index": 0}, worker=WORKERS),
            "0 of .* is not one of the 0",
        ),
    ],
)
def test_a_tf_config_that_cannot_be_used_says_why(text, why, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=why) as error:
        cluster_of(DistributionConfig())
    assert "--cluster" in str(error.value) and "\n" not in str(error.value)


def test_a_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        cluster = Cluster((f"localhost:{port}", "b:2"), 0)
        with pytest.raises(ConfigError, match=f"port {port} cannot be opened"):
            cluster.check_own_port()
    cluster.check_own_port()


def test_workers_that_accept_no_connection_are_named():
    with socket.socket() as there, socket.socket() as nobody:
        there.bind(("localhost", 0))
        there.listen()
        nobody.bind(("localhost", 0))  # and does not listen
        ports = [s.getsockname()[1] for s in (there, nobody)]
        own = "localhost:1"
        cluster = Cluster((own, *(f"localhost:{port}" for port in ports)), 0)
        assert cluster.unreachable() == [2]
        assert cluster.names([2]) == f"worker 2 (localhost:{ports[1]})"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster": ("a",), "task_index": 0}, "--cluster must be host:port"),
        ({"cluster": ("a:1", "a:1"), "task_index": 0}, "stands once"),
        ({"cluster": ("a:1", "b:2")}, "--task_index must be"),
        ({"cluster": ("a:1", "b:2"), "task_index": 2}, "0 to 1"),
        ({"task_index": 0}, "--task_index must be left out"),
        (
            {"cluster": ("a:1",), "task_index": 0, "strategy": "mirrored"},
            "--strategy must be auto or multi_worker",
        ),
        ({"worker_timeout": 0}, "--worker_timeout must be greater than 0"),
        ({"visible_devices": ("gpu",)}, "--visible_devices must be numbers"),
        ({"communication": "rig"}, "did you mean ring"),
    ],
)
def test_flags_of_a_cluster_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DistributionConfig(**settings)
