"""What a command imports before it has something to do with it."""

import ast
import os
import subprocess
import sys

import pytest

from simclr_tf2 import machine, startup
from tests import command_line

SLOW = "matplotlib", "pandas", "sklearn"
LOADED = f"import sys; print([n for n in {(*SLOW, 'tensorflow')} if n in sys.modules])"


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


# A process of its own begins like this; what follows may ask TensorFlow.
PATH = f"import os, sys; sys.path.insert(0, {str(command_line.ROOT)!r}); "
STATE = (
    "from simclr_tf2 import startup; "
    "print(os.environ.get(startup.ONEDNN), startup.onednn_is_on())"
)


def test_importing_the_package_turns_onednn_on_and_imports_no_tensorflow():
    code = (
        PATH + "import simclr_tf2; print('tensorflow' in sys.modules); "
        "import tensorflow; " + STATE
    )
    out = command_line.python(code, TF_ENABLE_ONEDNN_OPTS=None)
    assert out.split("\n")[:2] == ["False", "1 True"]


@pytest.mark.parametrize(("value", "on"), [("0", False), ("1", True), ("", True)])
def test_what_the_user_chose_stays(value, on):
    """An empty variable is no choice: TensorFlow does not read it as one either."""
    code = PATH + "import simclr_tf2, tensorflow; " + STATE
    out = command_line.python(code, TF_ENABLE_ONEDNN_OPTS=value)
    assert out.split("\n")[0] == f"{value or 1} {on}"


# TensorFlow on a CPU where it leaves oneDNN off: loaded without it, variable unset.
@pytest.mark.parametrize(
    ("onednn", "given", "expected"),
    [(None, None, None), ("1", None, None), ("0", None, "true"), ("0", "0", "0")],
)
def test_without_onednn_tensorflow_keeps_memory_itself(onednn, given, expected):
    """Unless the user says otherwise; its other kernels map large tensors anew."""
    code = PATH + "import os, simclr_tf2; "
    code += "print(os.environ.get('TF_CPU_ALLOCATOR_USE_BFC'))"
    settings = {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPU_ALLOCATOR_USE_BFC": given}
    assert command_line.python(code, **settings).strip() == str(expected)


LOADED_BEFORE = (
    PATH + "import tensorflow, warnings; del os.environ['TF_ENABLE_ONEDNN_OPTS']; "
    "warnings.simplefilter('always'); "
)
CATCH = (
    "caught = warnings.catch_warnings(record=True); found = caught.__enter__(); "
    "import simclr_tf2, simclr_tf2.config, simclr_tf2.models; "
    "print([str(w.message) for w in found if 'simclr_tf2' in str(w.message)]); "
)


def test_one_warning_when_tensorflow_was_loaded_before_without_onednn():
    out = command_line.python(LOADED_BEFORE + CATCH, TF_ENABLE_ONEDNN_OPTS="0")
    (message,) = ast.literal_eval(out.strip())
    assert "loaded before simclr_tf2" in message
    assert "set TF_ENABLE_ONEDNN_OPTS=1" in message


def test_no_warning_when_tensorflow_was_loaded_before_with_onednn():
    out = command_line.python(LOADED_BEFORE + CATCH, TF_ENABLE_ONEDNN_OPTS="1")
    assert out.strip() == "[]"


def test_no_warning_when_onednn_is_off_because_the_user_said_so():
    code = PATH + "import tensorflow, warnings; " + CATCH
    assert command_line.python(code, TF_ENABLE_ONEDNN_OPTS="0").strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-m", "simclr_tf2.data.service", "worker"], id="service"),
        pytest.param(["-m", "benchmarks.kernels", "--least=x"], id="benchmarks"),
        pytest.param(["run.py", "--mode=embed"], id="run.py"),
        pytest.param(["data/prepare_fashion_mnist.py", "--data_dir={}"], id="data"),
    ],
)
def test_every_entry_point_turns_onednn_on(arguments, tmp_path):
    """What each has set by the time it has begun, told at its exit."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os\n"
        "atexit.register(lambda: print('oneDNN', os.environ.get(NAME)))\n"
        "NAME = 'TF_ENABLE_ONEDNN_OPTS'\n"
    )
    # So that the data set counts as built; the stand-in for TFDS then ends the program.
    built = tmp_path / "fashion_mnist/3.0.1/dataset_info.json"
    built.parent.mkdir(parents=True)
    built.write_text("{}")
    (tmp_path / "tensorflow_datasets.py").write_text("raise SystemExit(2)")
    done = subprocess.run(
        [sys.executable, *(a.format(tmp_path) for a in arguments)],
        cwd=command_line.ROOT,
        env=command_line.environment(
            TF_ENABLE_ONEDNN_OPTS=None, PYTHONPATH=str(tmp_path)
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "oneDNN 1", done.stderr[-3000:]


def test_the_log_names_the_kernels_and_what_onednn_off_costs(monkeypatch):
    for value, state in (("0", "off"), ("1", "on")):
        monkeypatch.setenv(startup.ONEDNN, value)
        monkeypatch.setattr(startup, "onednn_is_on", lambda v=value: v == "1")
        line = startup.kernels()
        assert line.startswith(f"kernels: oneDNN {state}, ")
        assert ("up to 5 times as long" in line) == (value == "0")
        assert f"{machine.usable_cores()} core" in line
        assert machine.instruction_set() in line and machine.cpu_name() in line


@pytest.mark.parametrize(
    ("flags", "held", "text"),
    [
        ({"avx", "avx2"}, "", "AVX2"),
        ({"avx2", "avxvnni"}, "", "AVX2 with VNNI"),
        (
            {"avx2", "avx512f", "avx512vnni", "avx512bf16"},
            "",
            "AVX-512 with VNNI and BF16",
        ),
        ({"avx2", "avx512f"}, "AVX2", "AVX-512, oneDNN held to AVX2"),
        ({"neon"}, "", "NEON"),
    ],
)
def test_the_instruction_set_has_one_name(flags, held, text, monkeypatch):
    import llvmlite.binding

    features = dict.fromkeys(flags, True) | {"amx-tile": False}
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert machine.instruction_set.__wrapped__() == text
