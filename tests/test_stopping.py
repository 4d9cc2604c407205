"""SIGINT, SIGTERM, SIGHUP: one line and an exit code, at any moment, in seconds."""

import os
import signal
import subprocess
import sys
import time

import pytest

from simclr_tf2 import stopping
from tests import command_line

BEGIN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from simclr_tf2 import endings, stopping
stopping.GRACE_SECONDS = 1.0
with endings.of_process():
    def ready():
        print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def no_signal_is_ignored():
    """As in a terminal: children of a background job would ignore some, too."""
    ignored = [n for n in stopping.SIGNALS if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        is_ctrl_c = number == signal.SIGINT
        signal.signal(
            number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL
        )
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def start(body, **options):
    """A process of BEGIN and ``body``."""
    code = BEGIN + "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.Popen(
        [sys.executable, "-c", code, str(command_line.ROOT)], text=True, **options
    )


def stop(body, number, *, times=1):
    """(Exit code, stderr, seconds from signal to end) of BEGIN and ``body``."""
    process = start(body, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    since = time.monotonic()
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    _, err = process.communicate(timeout=60)
    return process.returncode, err, time.monotonic() - since


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_before_anything_is_saved_it_is_128_and_the_number_in_one_line(number, code):
    found, err, _ = stop("ready()\ntime.sleep(60)", number)
    name = signal.Signals(number).name
    assert (found, err) == (code, f"stopped by {name}: nothing had to be saved\n")


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_once_something_is_saved_it_is_42_and_says_how_to_go_on(number):
    body = "stopping.saved('step 12 is saved')\nready()\ntime.sleep(60)"
    found, err, _ = stop(body, number)
    name = signal.Signals(number).name
    assert (found, err) == (42, f"stopped by {name}: step 12 is saved\n")


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(number):
    """SIGHUP under nohup, SIGINT in the background of a shell script."""
    body = """
with stopping.StopRequest() as request:
    request.listen()
    ready()
    time.sleep(1)
    print(request.is_set())"""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = start(body.strip(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(number, before)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("False\n", "")
    assert process.returncode == 0


SAVES = """
with stopping.StopRequest() as request:
    request.listen()
    ready()
    while not request.is_set():
        time.sleep(0.01)
    print("a line of the log", flush=True)
    print("another", file=sys.stderr, flush=True)
    sys.exit(42)"""
ENDS = """
try:
    ready()
    time.sleep(60)
finally:
    print("a line of the log", flush=True)"""


@pytest.mark.parametrize(("body", "code"), [(SAVES, 42), (ENDS, 129)])
def test_what_is_said_to_a_terminal_that_was_closed_is_no_error(body, code):
    terminal, inside = os.openpty()
    own = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    process = start(
        own + body.strip(),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    assert process.wait(timeout=60) == code


def test_a_second_hangup_does_not_cut_the_first_short():
    """A shell passes on what the system sends to its jobs as well."""
    body = """
try:
    ready()
    time.sleep(60)
finally:
    time.sleep(0.6)
    print("closed", file=sys.stderr, flush=True)"""
    found, err, _ = stop(body.strip(), signal.SIGHUP, times=2)
    assert found == 129 and err.splitlines()[1:] == ["closed"]


def test_what_is_open_is_closed_first():
    body = """
try:
    ready()
    time.sleep(60)
except Exception:
    print("nobody handles it by mistake")
finally:
    print("closed", file=sys.stderr, flush=True)"""
    found, err, _ = stop(body.strip(), signal.SIGTERM)
    assert found == 143 and err.splitlines()[1:] == ["closed"]


def test_an_error_that_a_signal_became_on_its_way_is_not_shown():
    """Modules written in C turn any exception at import into one of their own."""
    body = """
try:
    ready()
    time.sleep(60)
except BaseException:
    raise ImportError("a bad install") from None"""
    found, err, _ = stop(body.strip(), signal.SIGINT)
    assert (found, err) == (130, "stopped by SIGINT: nothing had to be saved\n")


def test_a_call_that_does_not_come_back_is_ended_within_seconds():
    """Python's handlers wait for the end of a call into C; the process does not."""
    body = """
import hashlib, threading
threading.Timer(1.0, ready).start()  # within the call, which lets threads run
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 500_000_000)"""
    found, err, seconds = stop(body.strip(), signal.SIGTERM)
    assert found == 143 and err == "stopped by SIGTERM: nothing had to be saved\n"
    assert seconds > 0.9  # the grace; the call itself takes minutes


def test_a_loop_that_listens_is_asked_and_not_interrupted():
    body = """
with stopping.StopRequest() as request:
    request.listen()
    ready()
    while not request.is_set():
        time.sleep(0.01)
    time.sleep(stopping.GRACE_SECONDS + 1)  # saving may take its time
    print("saved", file=sys.stderr)"""
    found, err, _ = stop(body.strip(), signal.SIGTERM)
    assert found == 0 and err.splitlines()[-1] == "saved"


def test_the_second_ctrl_c_does_not_wait_for_the_loop():
    body = """
with stopping.StopRequest() as request:
    request.listen()
    ready()
    time.sleep(60)
    time.sleep(60)"""
    found, err, _ = stop(body.strip(), signal.SIGINT, times=2)
    assert found == 130 and "Traceback" not in err


def test_before_its_first_step_a_loop_is_interrupted():
    body = """
with stopping.StopRequest() as request:
    ready()
    time.sleep(60)"""
    found, err, _ = stop(body.strip(), signal.SIGINT)
    assert (found, err) == (130, "stopped by SIGINT: nothing had to be saved\n")


def test_a_worker_that_a_pool_ends_stops_nobody_else():
    """A forked process has the signals of an ordinary one."""
    body = """
import multiprocessing, os
pool = multiprocessing.get_context("fork").Pool(1)
pool.map(abs, [1])
pool.terminate()
pool.join()
time.sleep(stopping.GRACE_SECONDS + 1)
ready()
time.sleep(60)"""
    found, err, _ = stop(body.strip(), signal.SIGTERM)
    assert (found, err) == (143, "stopped by SIGTERM: nothing had to be saved\n")


def test_the_process_is_as_before_after_the_block():
    from simclr_tf2 import endings

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with endings.of_process():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_help_that_is_cut_off_by_head_shows_no_traceback():
    command = f"{sys.executable} run.py --helpfull | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=command_line.ROOT,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.count("\n") == 1 and done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_interpreter_ends_changes_no_exit_code(number):
    """TensorFlow's threads take a while to end."""
    code = (
        "import atexit, sys, time; sys.path.insert(0, sys.argv[1]); "
        "from simclr_tf2 import endings, stopping\n"
        "def main():\n"
        "    last = lambda: (print('ready', flush=True), time.sleep(30))\n"
        "    atexit.register(last)\n"
        "    with endings.of_process():\n"
        "        sys.exit(3)\n"
        "stopping.run_to_exit(main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(command_line.ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (3, "")


@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0])
def test_a_signal_while_modules_are_imported_is_one_line(seconds, tmp_path):
    """Of the command, of NumPy, of TensorFlow, which holds stderr back at that time."""
    process = command_line.start("--mode=pretrain", f"--model_dir={tmp_path}/run")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    if "error: " in out:  # a fast machine has come to the data set, and ended
        return
    assert (process.returncode, out) == (
        130,
        "stopped by SIGINT: nothing had to be saved\n",
    )
