"""What a command imports before it has something to do with it."""

import os
import subprocess
import sys

import pytest

from tests import command_line

SLOW = "matplotlib", "pandas", "sklearn"
LOADED = f"import sys; print([n for n in {SLOW + ('tensorflow',)} if n in sys.modules])"


def test_the_package_and_the_flags_import_nothing_large():
    code = (
        f"import sys; sys.path.insert(0, {str(command_line.ROOT)!r}); "
        f"import simclr_tf2, flags; {LOADED}"
    )
    assert command_line.python(code).strip() == "[]"


def test_help_needs_no_tensorflow(tmp_path):
    """A package of that name that cannot be imported stands in its way."""
    broken = tmp_path / "tensorflow.py"
    broken.write_text("raise SystemExit('tensorflow was imported')")
    done = command_line.run("--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "--train_batch_size" in done.stdout, done.stderr
    assert "tensorflow was imported" not in done.stderr
    # The stand-in does stand in the way of what needs TensorFlow.
    other = command_line.run("--model_dir=x", PYTHONPATH=str(tmp_path))
    assert "tensorflow was imported" in other.stderr


def test_without_flags_the_program_shows_modes_and_commands_and_exits_2(tmp_path):
    """As wrong usage: a script that lost its arguments must not count as done."""
    broken = tmp_path / "tensorflow.py"
    broken.write_text("raise SystemExit('tensorflow was imported')")
    done = command_line.run(PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and done.stderr == ""
    for text in ("  scan ", "  pretrain ", "--mode=pretrain --image_dir", "--helpfull"):
        assert text in done.stdout
    assert done.stdout.count("    python run.py ") == 3


def test_help_into_a_program_that_stops_reading_ends_quietly():
    """A closed pipe from the start: what `| head` leaves behind, without its timing."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "run.py", "--helpfull"],
        cwd=command_line.ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=300,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_workflows_start_without_what_keras_would_import():
    """And what was held back can be imported, and works, when it is needed."""
    pytest.importorskip("pandas")
    code = (
        f"import sys; sys.path.insert(0, {str(command_line.ROOT)!r}); "
        "from simclr_tf2 import startup; startup.start_tensorflow(); "
        f"import simclr_tf2.workflows; {LOADED}; "
        "import matplotlib.figure, pandas, sklearn.linear_model; "
        "print(len(pandas.DataFrame({'a': [1, 2]})))"
    )
    assert command_line.python(code).split("\n")[:2] == ["['tensorflow']", "2"]
