"""Cases of a benchmark in processes of their own that take turns.

So nothing that one case leaves behind (threads, allocators, settings) reaches another,
and a busy machine disturbs all alike.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Hashable, Mapping

Times = dict[str, list[float]]


def take_turns(
    cases: Mapping[Hashable, tuple[Callable, tuple]], *, rounds: int, repeats: int
) -> dict[Hashable, Times]:
    """Measure each case ``rounds`` times, one after the other in each round.

    Args:
        cases: name -> (function, arguments); in its process the function is called once
            and returns the function of no arguments that is measured. Both must be
            found by name from a new process.
        rounds: How often each is measured.
        repeats: Calls per measurement.

    Returns:
        name -> "cpu" and "wall": seconds per call in each round. CPU time is that of
        the whole process, all threads.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes, found = {}, [], {}
    for name, (build, arguments) in cases.items():
        pipes[name], theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, build, arguments), daemon=True
        )
        process.start()
        theirs.close()
        processes.append(process)
        pipes[name].recv()  # built, one after the other
        found[name] = {"cpu": [], "wall": []}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(repeats)
            cpu, wall = pipe.recv()
            found[name]["cpu"].append(cpu)
            found[name]["wall"].append(wall)
    for process, pipe in zip(processes, pipes.values(), strict=True):
        pipe.send(0)
        process.join()
    return found


def alone(function: Callable, *arguments):
    """Return what a function returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def show(values: list[float]) -> str:
    """Write median and range of values."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):8.1f} ({low:.1f} - {high:.1f})"


def _serve(pipe, build: Callable, arguments: tuple) -> None:
    run = build(*arguments)
    for _ in range(2):
        run()
    pipe.send("built")
    while repeats := pipe.recv():
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        pipe.send((cpu / repeats, wall / repeats))
