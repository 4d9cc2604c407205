"""A run on more and more devices: what a step takes, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from simclr_tf2.planning import memory
from simclr_tf2.planning.estimate import Estimate, estimate, loss_flops, view_flops
from simclr_tf2.planning.hardware import Hardware

# Batches up to which training is published: SimCLR (section 5.3, figure 9), and LARS
# with labels (arXiv 1708.03888).
LARGEST_OF_SIMCLR = 8192
LARGEST_OF_LARS = 32_768
# [ours] bytes per second at which a checkpoint is written; an assumption
CHECKPOINT_RATE = 1e9


@dataclass(frozen=True)
class Limit:
    """Something that breaks when more devices train.

    Attributes:
        devices: Number of devices from which on it is so; None: not up to the largest
            that was looked at.
        what: What it is, for people.
        kind: ``fixed``: with the same global batch; ``growing``: with the same batch
            per device; ``both``.
    """

    devices: int | None
    what: str
    kind: str


def device_counts(first: int, last: int) -> list[int]:
    """Return ``first``, its doubles below ``last``, and ``last``."""
    counts = []
    while first < last:
        counts.append(first)
        first *= 2
    return [*counts, last]


def with_fixed_batch(start: Estimate, devices: int) -> Estimate:
    """Estimate the run on ``devices`` devices with its global batch."""
    work = start.work.changed(replicas=devices)
    return estimate(work, start.hardware.with_devices(devices))


def with_growing_batch(start: Estimate, devices: int) -> Estimate:
    """Estimate it with the batch per device of ``start``; the epochs stay."""
    work, factor = start.work, devices / start.work.replicas
    steps = max(1, math.ceil(work.steps / factor))
    work = work.changed(replicas=devices, batch=round(work.batch * factor), steps=steps)
    return estimate(work, start.hardware.with_devices(devices))


def efficiency(found: Estimate) -> float:
    """Return the part of a step in which the network computes."""
    work = found.work
    network = work.per_replica * view_flops(work)
    return network / found.hardware.flops(work.dtype) / found.step


def hours_between_failures(hardware: Hardware) -> float:
    """Return the mean time between failures of one of the devices."""
    return hardware.value("device_hours_between_failures") / hardware.devices


def checkpoint_minutes(found: Estimate) -> float:
    """Return the time between checkpoints that loses least (Young 1974).

    sqrt(2 C M): C the time to write one, M the mean time between failures.
    """
    write = memory.checkpoint_bytes(found.work) / CHECKPOINT_RATE
    between = 3600 * hours_between_failures(found.hardware)
    return math.sqrt(2 * write * between) / 60


def limits(start: Estimate, last: int) -> list[Limit]:
    """Find what breaks up to ``last`` devices, soonest first."""
    hardware, work = start.hardware, start.work
    found = [
        _limit(start, last, "fixed", "communication takes half of a step", _half),
        Limit(
            _within(work.batch + 1, last),
            f"a device has less than one image of the batch of {work.batch:,}",
            "fixed",
        ),
        Limit(
            _within(int(hardware.value("system_devices")) + 1, last),
            f"devices are in several systems of {hardware.value('system_devices'):,.0f}"
            ", so that gradients cross the network between them",
            "both",
        ),
        *_of_failures(start, last),
        *_of_large_batches(start, last),
    ]
    return sorted(found, key=lambda limit: limit.devices or math.inf)


def _of_failures(start: Estimate, last: int) -> list[Limit]:
    hours = start.hardware.value("device_hours_between_failures")
    return [
        Limit(
            _within(math.ceil(hours / 24), last),
            "a device fails each day",
            "both",
        ),
        _limit(
            start,
            last,
            "growing",
            "a failure is expected within the run",
            lambda found: found.seconds / 3600 > hours / found.hardware.devices,
        ),
    ]


def _of_large_batches(start: Estimate, last: int) -> list[Limit]:
    work, one = start.work, start.work.batch / start.work.replicas
    found = [
        Limit(
            _within(math.floor(size / one) + 1, last),
            f"the batch exceeds {size:,}, the largest that {who} trained with",
            "growing",
        )
        for size, who in (
            (LARGEST_OF_SIMCLR, "the SimCLR paper"),
            (LARGEST_OF_LARS, "the LARS paper"),
        )
    ]
    found.append(
        Limit(
            _within(math.ceil(work.images.count / one), last),
            "one step is an epoch or more",
            "growing",
        )
    )
    found.append(
        _limit(start, last, "growing", "communication takes half of a step", _half)
    )
    if work.mode == "pretrain":
        found += _of_the_loss(start, last)
    return found


def _of_the_loss(start: Estimate, last: int) -> list[Limit]:
    def whole_matrix(found: Estimate) -> bool:
        whole = found.work.changed(block_size="off")
        return memory.loss_bytes(whole) > found.memory_limit

    return [
        _limit(
            start,
            last,
            "growing",
            "the similarities as a whole (--loss_block_size=off) exceed the memory",
            whole_matrix,
        ),
        _limit(
            start,
            last,
            "growing",
            "the loss takes as much arithmetic as the network",
            lambda found: (
                loss_flops(found.work)
                >= found.work.per_replica * view_flops(found.work)
            ),
        ),
    ]


def _half(found: Estimate) -> bool:
    return found.communication >= max(found.compute, found.moving)


def _limit(
    start: Estimate,
    last: int,
    kind: str,
    what: str,
    broken: Callable[[Estimate], bool],
) -> Limit:
    """Find the fewest devices for which ``broken`` is true, by bisection."""
    at = {"fixed": with_fixed_batch, "growing": with_growing_batch}[kind]
    low, high = start.work.replicas, last
    if low > high or not broken(at(start, high)):
        return Limit(None, what, kind)
    while low < high:
        middle = (low + high) // 2
        if broken(at(start, middle)):
            high = middle
        else:
            low = middle + 1
    return Limit(low, what, kind)


def _within(devices: int, last: int) -> int | None:
    return devices if devices <= last else None
