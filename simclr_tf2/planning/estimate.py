"""Time of a step and of a run on given hardware, and what limits them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simclr_tf2.planning import communication
from simclr_tf2.planning.communication import Exchange
from simclr_tf2.planning.hardware import Hardware
from simclr_tf2.planning.memory import Memory, memory
from simclr_tf2.planning.workload import Workload

# Numbers that an update reads and writes for each trained number, beside the slots,
# which are read and written: weight and gradient read, weight written; LARS reads
# weight and gradient once more for their norms.
UPDATE_NUMBERS = 5
# Products with the similarities: the loss, its gradient by rows and by columns, and in
# blocks the loss once more; the metrics compare a quarter.
LOSS_PRODUCTS = 3.25
# Source images with two views per core and second, by the side of a view: measured on
# an AVX-512 Xeon (docs/performance.md, "Input"), without and with blur.
INPUT_RATES = ((32, 10_792, 8_511), (96, 2_795, 2_431), (224, 319, 305))


@dataclass(frozen=True)
class Estimate:
    """A run on hardware, as far as formulas tell.

    A step is one of the last part of the run, whose views have the full size.

    Attributes:
        hardware: Devices.
        work: The run.
        memory: Bytes of a replica.
        exchanges: Communication of a step.
        compute: Seconds of a step for arithmetic.
        moving: Seconds of a step for reading and writing memory.
        input: Seconds of a step in which the hosts make its views.
        early: The parts of the run with smaller views.
    """

    hardware: Hardware
    work: Workload
    memory: Memory
    exchanges: tuple[Exchange, ...]
    compute: float
    moving: float
    input: float
    early: tuple[Estimate, ...] = ()

    @property
    def communication(self) -> float:
        """Seconds of a step for communication; none is hidden behind computing."""
        return sum(exchange.seconds for exchange in self.exchanges)

    @property
    def device_step(self) -> float:
        """Seconds of a step on devices whose input is always ready."""
        return max(self.compute, self.moving) + self.communication

    @property
    def step(self) -> float:
        """Seconds of a step."""
        if self.hardware.shares_host:
            return self.device_step + self.input
        return max(self.device_step, self.input)

    @property
    def seconds(self) -> float:
        """Seconds of all steps, without evaluation and checkpoints."""
        early = sum(part.work.steps for part in self.early)
        full = self.step * (self.work.steps - early)
        return full + sum(part.seconds for part in self.early)

    @property
    def memory_limit(self) -> float:
        """Bytes that a device has."""
        return self.hardware.value("memory_gib") * 2**30

    @property
    def fits(self) -> bool:
        """Whether the replica fits into its device."""
        return self.memory.total <= self.memory_limit

    @property
    def wanted_images_per_second(self) -> float:
        """Source images per second that keep all devices busy."""
        return self.work.batch / self.device_step

    @property
    def possible_images_per_second(self) -> float:
        """Source images per second that all hosts are expected to make."""
        return self.work.batch / self.input


def estimate(work: Workload, hardware: Hardware) -> Estimate:
    """Estimate a run; ``work.replicas`` are the devices of ``hardware``.

    The input of smaller views takes as long as that of the full size: images are read
    and decoded as a whole, and how much less time the views take was not measured.
    """
    assert work.replicas == hardware.devices
    flops = step_flops(work)
    seconds = work.per_replica * hardware.devices_per_host
    seconds /= input_rate(work) * hardware.value("host_cores")
    return Estimate(
        hardware=hardware,
        work=work,
        memory=memory(work, compiled=hardware.compiled),
        exchanges=exchanges(work, hardware),
        compute=flops / hardware.flops(work.dtype),
        moving=step_bytes(work) / (hardware.value("memory_gb_per_s") * 1e9),
        input=seconds,
        early=tuple(
            replace(estimate(part, hardware), input=seconds) for part in work.early
        ),
    )


def view_flops(work: Workload) -> float:
    """Return the operations of all views of one image in a step."""
    forward, _ = work.passes
    total = 0.0
    for (number, _), counts in zip(work.views, work.counts, strict=True):
        again = 2 * counts.multiply_adds * (forward - 1)
        total += number * (counts.step_flops + again)
    return total


def loss_flops(work: Workload) -> float:
    """Return the operations of the contrastive loss of a replica."""
    if work.mode == "finetune":
        return 0.0
    products = LOSS_PRODUCTS + work.blockwise
    columns = work.rows * work.replicas
    return products * 2 * work.rows * columns * work.counts[0].width


def step_flops(work: Workload) -> float:
    """Return the operations of a replica in a step."""
    return work.per_replica * view_flops(work) + loss_flops(work)


def step_bytes(work: Workload) -> float:
    """Return the bytes that a replica reads and writes in a step.

    A backward pass moves twice the bytes of a forward pass. ReLU is part of the layer
    before it.
    """
    forward, backward = work.passes
    total = 0.0
    for (number, _), counts in zip(work.views, work.counts, strict=True):
        learned = counts.trained_multiply_adds / max(counts.multiply_adds, 1)
        passes = forward + 2 * backward * learned
        total += work.per_replica * number * counts.traffic * passes
    updated = work.counts[0].trained * (UPDATE_NUMBERS + 2 * work.slots)
    # An average is read with its weight, and written.
    return total + communication.FLOAT * (updated + 3 * work.averages)


def exchanges(work: Workload, hardware: Hardware) -> tuple[Exchange, ...]:
    """Return what the replicas exchange in a step; nothing with one device."""
    if hardware.devices == 1:
        return ()
    counts = work.counts[0]
    found = [communication.gradients(counts.trained, hardware)]
    if work.config.model.global_bn and counts.norms:
        # Each part of a batch has its own statistics.
        passes = math.ceil(sum(work.passes) * work.parts * len(work.views))
        found.append(communication.batch_norms(counts.norms, passes, hardware))
    if work.mode == "pretrain":
        rows = math.ceil(work.rows)
        found.append(
            communication.projections(rows, counts.width, work.blockwise, hardware)
        )
    return tuple(found)


def input_rate(work: Workload) -> float:
    """Return the source images that one core reads and turns into views per second.

    Measured for two views of 32, 96 and 224 px; other sizes by the number of pixels
    from the nearest of these, other numbers of views in proportion.
    """
    blur = work.mode == "pretrain" and work.config.augmentation.use_blur
    pixels = sum(n * math.prod(size) for n, size in work.views) / 2
    side, plain, blurred = min(
        INPUT_RATES, key=lambda row: abs(math.log(row[0] ** 2 / pixels))
    )
    return (blurred if blur else plain) * side**2 / pixels
