"""What the CPU can do and how many cores of it this process may use.

Nothing large is imported here: this is asked before TensorFlow is loaded.
"""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path

# Widest first: name for people, then LLVM's name of the instructions.
INSTRUCTION_SETS = (
    ("AVX-512", "avx512f"),
    ("AVX2", "avx2"),
    ("AVX", "avx"),
    ("SSE4", "sse4.2"),
    ("NEON", "neon"),
)
# What multiplies narrower numbers, or matrices.
EXTENSIONS = (
    ("VNNI", ("avx512vnni", "avxvnni")),
    ("BF16", ("avx512bf16", "bf16")),
    ("AMX", ("amx-tile",)),
)


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy, at least 1.

    The smaller of the cores that it may be scheduled on (taskset, cpuset) and of what
    the quota of its container allows, rounded up: a container of a large machine often
    sees all cores and may use the time of two.

    Args:
        root: Where proc/ and sys/ are.
    """
    quota = _quota(root)
    cores = schedulable_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def schedulable_cores() -> int:
    """Return how many cores this process may be scheduled on, whatever its quota."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(root: Path) -> float | None:
    """Return the cores' worth of time that Linux control groups allow, or None.

    None stands for no limit.

    A group's limit holds for all below it, so the smallest one on the way up counts.
    Inside a container the path of the group may be that of the host, which is not
    there; the container's own group is then the top one.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return None
    found: list[float | None] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: one tree
            tops, read = ["", "unified"], _quota_v2
        elif "cpu" in controllers.split(","):
            tops, read = ["cpu", controllers], _quota_v1
        else:
            continue
        for name in tops:
            top = root / "sys/fs/cgroup" / name
            group = top / path.strip("/")
            found += [read(g) for g in (group, *group.parents) if g.is_relative_to(top)]
    limits = [limit for limit in found if limit]
    return min(limits) if limits else None


def _quota_v2(group: Path) -> float | None:
    try:
        allowed, period = (group / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return None if allowed <= 0 else allowed / period  # -1: no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None


@functools.cache
def cpu_name() -> str:
    """Return the CPU's name for people, with the family that LLVM takes it for.

    Virtual machines often say no more than "AMD EPYC"; the family ("znver3") tells the
    generations apart.
    """
    import llvmlite.binding as llvm

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = (line.split(":", 1)[1] for line in lines if "model name" in line)
        name = next(models, name).strip()
    except OSError:  # not Linux
        pass
    return f"{name} ({llvm.get_host_cpu_name()})"


@functools.cache
def instruction_set() -> str:
    """Say which instructions oneDNN may use: ``AVX2``, ``AVX-512 with VNNI and BF16``.

    ``ONEDNN_MAX_CPU_ISA`` holds oneDNN to less than the CPU has; it is named then.
    """
    import llvmlite.binding as llvm

    try:
        flags = {name for name, there in llvm.get_host_cpu_features().items() if there}
    except RuntimeError:  # LLVM does not know how to ask on this system
        flags = set()
    known = (name for name, flag in INSTRUCTION_SETS if flag in flags)
    text = next(known, platform.machine())
    more = [name for name, any_of in EXTENSIONS if flags & {*any_of}]
    text += f" with {' and '.join(more)}" if more else ""
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return f"{text}, oneDNN held to {held}" if held else text
