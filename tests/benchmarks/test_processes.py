"""benchmarks/processes.py: CPU time of a program and its children."""

import sys

import pytest

from benchmarks import processes

CHILD = "import time\nwhile time.process_time() < 0.4: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.story
def test_time_of_children_is_counted(tmp_path):
    command = [sys.executable, "-c", PARENT]
    assert processes.run_counted(command, tmp_path / "log") >= 0.4


@pytest.mark.story
def test_a_program_that_fails_is_an_error_with_its_last_line(tmp_path):
    code = "import os, sys; print(os.environ['GIVEN']); sys.exit(3)"
    with pytest.raises(processes.ProgramFailed, match=r"exit code 3: the reason"):
        processes.run_counted(
            [sys.executable, "-c", code],
            tmp_path / "log",
            environment={"GIVEN": "the reason"},
        )
    assert (tmp_path / "log").read_text() == "the reason\n"


def test_steps_of_a_budget_follow_from_the_shortest_and_the_longest_run():
    points = [(4, 18.0), (24, 58.0)]  # 10 CPU-seconds to start and 2 a step
    assert processes.steps_within(110, points) == 50
    assert processes.steps_within(110, [*points, (54, 118.0), (30, 0.0)]) == 50
    assert processes.steps_within(1, points) == 1
