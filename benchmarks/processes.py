"""Runs a program in a process of its own, counts its CPU time, and plans budgets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ProgramFailed(RuntimeError):
    """Error of a program that ended with another exit code than 0."""


def run_counted(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Run a command and return its CPU-seconds.

    Args:
        command: Program and arguments.
        log: File that receives what the program prints; its folder must exist.
        environment: Variables to set besides those of this process.

    Returns:
        User and system time in seconds of the process and of those of its children
        that it waited for.

    Raises:
        ProgramFailed: Exit code other than 0; the message ends with the last line
            that the program printed.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise ProgramFailed(f"exit code {process.returncode}: {lines[-1]}")
    return usage.ru_utime + usage.ru_stime


def steps_within(budget: float, points: Sequence[tuple[int, float]]) -> int:
    """Return the number of training steps that fits a budget, at least 1.

    Args:
        budget: CPU-seconds of a run.
        points: (steps, CPU-seconds) of at least two runs of different lengths; a line
            through the shortest and the longest gives the rate.
    """
    (few, short), (many, long) = min(points), max(points)
    rate = max(long - short, 1e-6) / (many - few)
    return max(1, int(few + (budget - short) / rate))
