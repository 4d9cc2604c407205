"""Which strategy is chosen, and how tensors cross replicas."""

import pytest
import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.config import DistributionConfig
from simclr_tf2.distribution import Cluster, multi_worker, strategies
from simclr_tf2.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(strategies, "_SHARED", {})


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "mirrored"),  # conftest gives two logical devices
        ({"use_tpu": False, "tpu_name": "pod"}, "mirrored"),
        ({"tpu_name": "pod"}, "tpu"),
        ({"use_tpu": True}, "tpu"),
        ({"master": "grpc://10.0.0.1:8470"}, "tpu"),
    ],
)
def test_auto_chooses_by_flags_and_devices(settings, kind):
    assert strategies._detect(DistributionConfig(**settings), None)[0] == kind


def test_auto_takes_the_tpu_of_this_machine_unless_told_not_to(monkeypatch):
    monkeypatch.setattr(strategies, "has_local_tpu", lambda: True)
    detected = strategies._detect(DistributionConfig(), None)
    assert detected == ("tpu", "this machine has a TPU")
    assert strategies._detect(DistributionConfig(use_tpu=False), None)[0] == "mirrored"


def test_a_machine_without_the_tpu_library_has_no_tpu():
    assert not strategies.has_local_tpu()


def test_listed_workers_mean_multi_worker():
    config = DistributionConfig(cluster=("a:1", "b:2"), task_index=0)
    kind, why = strategies._detect(config, Cluster(("a:1", "b:2"), 0))
    assert kind == "multi_worker" and "--cluster lists 2 workers" in why


def test_the_choice_of_devices_is_logged_once_with_its_reason(caplog):
    strategy = distribution.make_strategy(DistributionConfig())
    with caplog.at_level("INFO", logger="simclr_tf2"):
        distribution.log_devices(strategy)
        distribution.log_devices(strategy)
    assert caplog.messages == ["devices: 2 CPUs, mirrored (no TPU and no GPU)"]


def test_multi_worker_without_workers_says_what_is_missing():
    with pytest.raises(ConfigError, match="--cluster=host:port.*TF_CONFIG"):
        distribution.make_strategy(DistributionConfig(strategy="multi_worker"))


@pytest.mark.parametrize(
    "text", ["not JSON", '{"cluster": {"worker": ["a:1", "b:2"]}}']
)
def test_other_modes_than_training_use_this_machine_alone(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    strategy = distribution.local_strategy(DistributionConfig(strategy="multi_worker"))
    assert strategy.num_replicas_in_sync == 2
    assert distribution.workers(strategy).count == 1


def test_a_single_worker_trains_without_a_server(monkeypatch):
    config = DistributionConfig(cluster=("localhost:1",), task_index=0)
    assert distribution.workers(distribution.training_strategy(config)).count == 1


def test_gpus_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="this machine has 0 GPUs"):
        distribution.make_strategy(DistributionConfig(visible_devices=("0",)))


def test_visible_gpus_and_their_memory_are_set_before_they_start(monkeypatch):
    gpus = ["gpu a", "gpu b", "gpu c"]
    calls = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda chosen, kind: calls.append(chosen)
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "set_memory_growth",
        lambda gpu, on: calls.append((gpu, on)),
    )
    config = DistributionConfig(visible_devices=("0", "2"), memory_growth=True)
    strategies.set_gpus(config)
    assert calls == [["gpu a", "gpu c"], ("gpu a", True), ("gpu c", True)]


def test_no_tpu_is_one_line_that_names_the_way_out():
    with pytest.raises(ConfigError, match="--use_tpu=False"):
        distribution.make_strategy(DistributionConfig(tpu_name="no-such-tpu"))


def test_virtual_devices_after_the_start_are_refused():
    tf.config.list_logical_devices()  # TensorFlow has started
    with pytest.raises(ConfigError, match="use a new process"):
        distribution.set_virtual_devices(3)


def test_several_workers_get_the_way_they_communicate(monkeypatch):
    given = {}

    class Joined:
        """Stands for the strategy, which would wait for the other worker."""

        def __init__(self, **settings):
            given.update(settings)
            self.extended = self

        def _start_check_health_thread(self):
            given["checked"] = True

    monkeypatch.setattr(multi_worker, "_prepare_tensorflow", lambda _: None)
    monkeypatch.setattr(multi_worker, "_require_equal_devices", lambda *_: None)
    monkeypatch.setattr(Cluster, "check_own_port", lambda _: None)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Joined)
    cluster = Cluster(("a:1", "b:2"), 1)
    config = DistributionConfig(gradient_pack_mib=8, communication="ring")
    strategy = multi_worker.multi_worker_strategy(config, cluster)
    options, resolver = given["communication_options"], given["cluster_resolver"]
    assert options.bytes_per_pack == 8 * 2**20
    assert options.implementation.name == "RING"
    assert resolver.cluster_spec().as_dict() == {"worker": ["a:1", "b:2"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)
    assert resolver.num_accelerators() == {"GPU": 0}
    assert given["checked"]
    assert distribution.workers(strategy).index == 1
    multi_worker.multi_worker_strategy(DistributionConfig(), cluster)
    assert given["communication_options"].bytes_per_pack == 0
    assert given["communication_options"].implementation.name == "AUTO"
