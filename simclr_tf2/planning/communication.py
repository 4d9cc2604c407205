"""Bytes and seconds of what the replicas exchange in a step.

The formulas are those of ring algorithms (Patarasuk and Yuan 2009, doi
10.1016/j.jpdc.2008.09.002) within a system, such as a host of GPUs or a TPU pod, and
again between systems; latency counts the steps of a tree (a switch) or the hops of a
torus. All figures are lower bounds: no contention, nothing else on the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simclr_tf2.planning.hardware import Hardware

FLOAT = 4  # bytes; gradients, statistics and projections are float32
STATISTICS = 2  # mean and mean square, or their gradients


@dataclass(frozen=True)
class Exchange:
    """One kind of communication in a step.

    Attributes:
        name: What is exchanged.
        calls: Collective operations a step.
        sent: Bytes that each device sends a step.
        seconds: Time a step.
    """

    name: str
    calls: int
    sent: float
    seconds: float


def all_reduce_bytes(size: float, devices: int) -> float:
    """Return the bytes that a device sends to sum ``size`` bytes: 2 (p - 1) / p s."""
    return 2 * (devices - 1) / devices * size


def all_gather_bytes(size: float, devices: int) -> float:
    """Return the bytes that a device sends if each has ``size`` bytes: (p - 1) s."""
    return (devices - 1) * size


def latency_seconds(hardware: Hardware) -> float:
    """Return the time of an all-reduce of one number; 0 with one device."""
    if hardware.devices == 1:
        return 0.0
    inside, systems = _systems(hardware)
    hops = {
        "switch": 2 * math.ceil(math.log2(inside)),
        "torus2": 2 * _torus_hops(inside, 2),
        "torus3": 2 * _torus_hops(inside, 3),
    }[hardware.topology]
    between = 2 * math.ceil(math.log2(systems))
    micro = hops * hardware.value("link_latency_us")
    micro += between * hardware.value("network_latency_us")
    return 1e-6 * (hardware.value("call_latency_us") + micro)


def all_reduce_seconds(size: float, hardware: Hardware) -> float:
    """Return the time to sum ``size`` bytes over all devices.

    The devices of a system share the sum of ``size / devices`` bytes each between
    systems.
    """
    inside, systems = _systems(hardware)
    seconds = latency_seconds(hardware)
    seconds += all_reduce_bytes(size, inside) / _bandwidth(hardware, "link")
    between = all_reduce_bytes(size, systems) / inside
    return seconds + between / _bandwidth(hardware, "network")


def all_gather_seconds(size: float, hardware: Hardware) -> float:
    """Return the time until each device has the ``size`` bytes of all others."""
    _, systems = _systems(hardware)
    received = all_gather_bytes(size, hardware.devices)
    from_network = all_gather_bytes(size, systems)
    seconds = latency_seconds(hardware) / 2  # one way
    seconds += received / _bandwidth(hardware, "link")
    return seconds + from_network / _bandwidth(hardware, "network")


def gradients(trained: int, hardware: Hardware) -> Exchange:
    """Return the sum of the gradients of ``trained`` numbers."""
    size = trained * FLOAT
    return Exchange(
        "gradients",
        1,
        all_reduce_bytes(size, hardware.devices),
        all_reduce_seconds(size, hardware),
    )


def batch_norms(channels: tuple[int, ...], passes: int, hardware: Hardware) -> Exchange:
    """Return the statistics of synchronised batch norms.

    Args:
        channels: Of each batch norm.
        passes: Forward and backward passes of a step: 2, or more in micro-batches.
        hardware: Devices and network.
    """
    sizes = [STATISTICS * number * FLOAT for number in channels]
    return Exchange(
        "batch norm",
        passes * len(sizes),
        passes * sum(all_reduce_bytes(size, hardware.devices) for size in sizes),
        passes * sum(all_reduce_seconds(size, hardware) for size in sizes),
    )


def projections(rows: int, width: int, blockwise: bool, hardware: Hardware) -> Exchange:
    """Return the projections of all replicas, and what comes back for their gradients.

    Args:
        rows: Rows of a replica.
        width: Features of a projection.
        blockwise: Whether the loss is computed in blocks: two numbers per row come
            back. Otherwise a gradient per projection does.
        hardware: Devices and network.
    """
    there = rows * width * FLOAT
    back = rows * (2 if blockwise else width) * FLOAT
    sizes = (there, back)
    return Exchange(
        "projections",
        2,
        sum(all_gather_bytes(size, hardware.devices) for size in sizes),
        sum(all_gather_seconds(size, hardware) for size in sizes),
    )


def _systems(hardware: Hardware) -> tuple[int, int]:
    """Return the devices of a system, and the number of systems."""
    inside = min(hardware.devices, int(hardware.value("system_devices")))
    return inside, math.ceil(hardware.devices / inside)


def _torus_hops(devices: int, dimensions: int) -> int:
    """Return the hops from one end of each ring of a torus to the other and on."""
    side = math.ceil(round(math.pow(devices, 1 / dimensions), 6))
    return dimensions * (side - 1)


def _bandwidth(hardware: Hardware, kind: str) -> float:
    return hardware.value(f"{kind}_gb_per_s") * 1e9
