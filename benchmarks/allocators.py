"""What settings of memory cost or save in a training step, with oneDNN and without.

Each case is a process of its own with another environment: TensorFlow's own allocator
for the CPU, and settings of glibc's malloc (huge pages; large blocks kept in place of
being mapped anew). Printed are CPU time, time in the system and minor page faults per
step of ResNet-18. Run::

    python -m benchmarks.allocators [--batch 64] [--steps 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

from benchmarks import machine_line
from benchmarks.step import ours

KEPT = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
CASES = {
    "as it is": {},
    "TF_CPU_ALLOCATOR_USE_BFC=true": {"TF_CPU_ALLOCATOR_USE_BFC": "true"},
    "malloc with huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "malloc keeps large blocks": {"GLIBC_TUNABLES": KEPT},
}


def measure(batch: int, steps: int) -> dict[str, float]:
    """Measure the costs of one step, in this process."""
    step = ours(batch, 32, "float32")
    for _ in range(2):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(steps):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    return {
        "cpu": 1e3 * (after.ru_utime - before.ru_utime + system) / steps,
        "system": 1e3 * system / steps,
        "faults": (after.ru_minflt - before.ru_minflt) / steps,
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.batch, given.steps)))
        return
    print(machine_line())
    print(f"ResNet-18, 32 px, batch {given.batch}, per step; medians")
    print(f"{'oneDNN':6}  {'setting':29} {'CPU ms':>9} {'system ms':>9} {'faults':>9}")
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(given.rounds):
        for onednn in ("1", "0"):
            for name, settings in CASES.items():
                environment = {"TF_ENABLE_ONEDNN_OPTS": onednn, **settings}
                command = [sys.executable, "-m", "benchmarks.allocators", "--here"]
                command += [f"--batch={given.batch}", f"--steps={given.steps}"]
                done = subprocess.run(
                    command,
                    env={**os.environ, **environment},
                    capture_output=True,
                    check=True,
                )
                record = json.loads(done.stdout.splitlines()[-1])
                found.setdefault((onednn, name), []).append(record)
    for (onednn, name), records in found.items():
        cpu, system, faults = (
            statistics.median(r[key] for r in records)
            for key in ("cpu", "system", "faults")
        )
        word = "on" if onednn == "1" else "off"
        print(f"{word:6}  {name:29} {cpu:9,.0f} {system:9,.0f} {faults:9,.0f}")


if __name__ == "__main__":
    main()
