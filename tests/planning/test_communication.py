"""Communication of a step: formulas by hand, and the benchmark that counts bytes."""

import dataclasses

import pytest

from benchmarks.communication import sent
from simclr_tf2.planning import communication, hardware
from simclr_tf2.planning.hardware import Figure


def machine(devices, topology="switch", **figures):
    """A machine of round figures: 1 GB/s, 1 microsecond a step, 10 a call."""
    plain = hardware.find("8xh100")
    values = {
        "link_gb_per_s": 1,
        "link_latency_us": 1,
        "call_latency_us": 10,
        "network_gb_per_s": 0.5,
        "network_latency_us": 5,
        "system_devices": 8,
        **figures,
    }
    figures = {
        **plain.figures,
        **{name: Figure(value, "assumed", "test") for name, value in values.items()},
    }
    return dataclasses.replace(
        plain, devices=devices, topology=topology, figures=figures
    )


def test_bytes_are_those_of_a_ring():
    assert communication.all_reduce_bytes(100, 4) == 2 * 3 / 4 * 100
    assert communication.all_gather_bytes(100, 4) == 300
    assert communication.all_reduce_bytes(100, 1) == 0


@pytest.mark.parametrize(
    ("devices", "topology", "figures", "steps"),
    [
        (1, "switch", {}, None),
        (8, "switch", {}, 2 * 3),  # a tree of 8: 3 up, 3 down
        (5, "switch", {}, 2 * 3),
        (16, "torus2", {"system_devices": 64}, 2 * 2 * 3),  # 4 x 4
        (64, "torus3", {"system_devices": 64}, 2 * 3 * 3),  # 4 x 4 x 4
        (32, "switch", {}, 2 * 3 + 5 * 2 * 2),  # 4 systems: 2 steps of 5 each way
    ],
)
def test_latency_counts_the_steps_of_a_tree_and_the_hops_of_a_torus(
    devices, topology, figures, steps
):
    seconds = communication.latency_seconds(machine(devices, topology, **figures))
    expected = 0 if steps is None else 1e-6 * (10 + steps)
    assert seconds == pytest.approx(expected)


def test_time_within_and_between_systems_by_hand():
    # 8 devices of one system: 2 * 7/8 * 1 GB at 1 GB/s.
    one = communication.all_reduce_seconds(1e9, machine(8))
    assert one == pytest.approx(1.75 + 16e-6)
    # 16 in two systems: each device sums an eighth with its partner at 0.5 GB/s.
    two = communication.all_reduce_seconds(1e9, machine(16))
    assert two == pytest.approx(1.75 + 1 / 8 / 0.5 + 26e-6)
    # A gather of 1 GB each: 15 arrive by the links, 1 by the network.
    gathered = communication.all_gather_seconds(1e9, machine(16))
    assert gathered == pytest.approx(15 + 1 / 0.5 + 13e-6)


def test_bytes_equal_those_of_the_benchmark():
    """Written by other people for docs/performance.md: ResNet-50 on 32 replicas."""
    there = machine(32, "torus2", system_devices=1024)
    table = sent(batch=4096, replicas=32, width=128, channels=30784, weights=32_000_000)
    gradients = communication.gradients(32_000_000, there)
    assert gradients.sent == pytest.approx(table["gradients, all-reduce"])
    norms = communication.batch_norms((30000, 784), 2, there)
    assert norms.sent == pytest.approx(table["batch norm, all-reduce"])
    assert norms.calls == 4
    whole = communication.projections(256, 128, False, there)
    both = table["projections, all-gather"] + table["their gradients, reduce-scatter"]
    assert whole.sent == pytest.approx(both)
    blocks = communication.projections(256, 128, True, there)
    assert blocks.sent == pytest.approx(both / 2 * (1 + 2 / 128))
