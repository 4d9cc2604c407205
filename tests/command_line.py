"""Run the program as a user does, in a process of its own; usage errors in this one."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A network and a run of seconds; every command-line test starts from it.
TINY = (
    "--mode=pretrain --dataset=simclr_shapes/tiny --train_split=unlabeled "
    "--probe_split=train --eval_split=test --image_size=32 --resnet_depth=10 "
    "--width_multiplier=0.125 --stem=stride2 --num_proj_layers=2 --proj_out_dim=16 "
    "--train_batch_size=64 --train_steps=12 --optimizer=adamw --learning_rate=0.002 "
    "--learning_rate_scaling=none --warmup_epochs=0.2 --temperature=0.2 "
    "--color_jitter_strength=0.5 --nouse_blur --log_steps=2 --checkpoint_steps=4 "
    "--monitor_epochs=0"
).split()


def environment(**extra):
    """That of this process with ``extra``; None takes a variable away."""
    given = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **extra,
    }
    return {name: value for name, value in given.items() if value is not None}


def main(*arguments):
    """Exit code and stderr of the program's ``main`` in this process.

    For usage errors and other ends without training. Only absl's wrapper around the
    program is left out, and flags, logging, environment, folder and arguments are put
    back. Variables that are read when Python or TensorFlow starts want ``run``.
    """
    from absl import logging as absl_logging

    import run as program  # imports little, but only pytest has it on its path
    from tests.support import program_flags

    def call(main, flags_parser):
        sys.exit(main(flags_parser(sys.argv)))

    ours, verbosity = logging.getLogger("simclr_tf2"), absl_logging.get_verbosity()
    before = ours.handlers[:], ours.level, ours.propagate
    program_flags.forget()
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            mock.patch.dict(os.environ),
            contextlib.redirect_stderr(io.StringIO()) as stderr,
            pytest.raises(SystemExit) as ended,
        ):
            patch.chdir(ROOT)
            patch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
            patch.setattr(program.app, "run", call)
            program.main()
    finally:
        ours.handlers[:], ours.level, ours.propagate = before
        absl_logging.set_verbosity(verbosity)
        program_flags.forget()
    return ended.value.code, stderr.getvalue()


def run(*arguments, timeout=300, **extra):
    """Exit code, stdout and stderr of ``python run.py arguments``."""
    return subprocess.run(
        [sys.executable, "run.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(*arguments):
    """The same, without waiting."""
    return subprocess.Popen(
        [sys.executable, "-u", "run.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def python(code, *arguments, **extra):
    """Standard output of a Python program in a new process, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd="/",
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
