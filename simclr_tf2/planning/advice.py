"""What limits a planned run, and which flags make one fit that does not."""

from __future__ import annotations

from collections.abc import Iterator

from simclr_tf2.planning.estimate import Estimate, estimate
from simclr_tf2.planning.workload import Workload

NEARLY_FULL = 0.9  # [ours] share of the memory from which on it is the limit to name
GIB = 2**30


def tightest_limit(found: Estimate) -> str:
    """Name the limit that a run meets first, in one line."""
    used, there = found.memory.total / GIB, found.memory_limit / GIB
    if used > NEARLY_FULL * there:
        return f"memory: {used:,.1f} of {there:,.1f} GiB"
    if found.input > found.device_step:
        return (
            f"input: {found.wanted_images_per_second:,.0f} images/s are needed, the "
            f"hosts make about {found.possible_images_per_second:,.0f}"
        )
    parts = {
        "computing": found.compute,
        "memory bandwidth": found.moving,
        "communication": found.communication,
    }
    name = max(parts, key=lambda part: parts[part])
    return f"{name}: {1e3 * parts[name]:,.1f} of {1e3 * found.step:,.1f} ms a step"


def how_to_fit(found: Estimate) -> list[str]:
    """List flags with which the replica fits its device, with memory and hours.

    Of each flag the value that saves least and is sufficient; two flags together only
    if none is sufficient alone. The list is empty if it fits already, or if no flag
    makes it fit.
    """
    if found.fits:
        return []
    lines: dict[tuple[str, ...], str] = {}
    for flags, work in _savings(found.work):
        names = tuple(flag.partition("=")[0] for flag in flags)
        if names in lines or (len(names) > 1 and lines):
            continue
        other = estimate(work, found.hardware)
        if other.fits:
            size, hours = other.memory.total / GIB, other.seconds / 3600
            lines[names] = f"{' '.join(flags)}: {size:,.1f} GiB, {hours:,.1f} hours"
    return list(lines.values())


def _savings(work: Workload) -> Iterator[tuple[tuple[str, ...], Workload]]:
    """Yield (flags, run with these flags): each saving alone, then two together."""
    if work.mode == "pretrain" and not work.blockwise:
        if work.config.loss.loss == "nt_xent":
            yield ("--loss_block_size=512",), work.changed(block_size=512)
    for remat in ("groups", "blocks"):
        yield (f"--remat={remat}",), work.changed(remat=remat)
    if work.mode != "pretrain":  # fine-tuning has no micro-batches
        return
    for size in _smaller_parts(work):
        yield (f"--micro_batch_size={size}",), work.changed(micro_batch=size)
    both = work.changed(remat="blocks")
    for size in _smaller_parts(work):
        flags = (f"--micro_batch_size={size}", "--remat=blocks")
        yield flags, both.changed(micro_batch=size)


def _smaller_parts(work: Workload) -> list[int]:
    """Return divisors of a replica's batch, largest first, a factor 2 or more apart."""
    whole = round(work.per_replica)
    sizes, size = [], whole
    for divisor in range(whole - 1, 0, -1):
        if whole % divisor == 0 and divisor <= size / 2:
            sizes.append(divisor)
            size = divisor
    return sizes
