"""The blocks of docs/export.md run as written, each in a process of its own."""

import re
import shutil

import pytest

import flags
from simclr_tf2 import workflows
from tests import command_line
from tests.support import page_commands, program_flags

PAGE = (command_line.ROOT / "docs/export.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NEEDS = {"tensorflow_hub": "tensorflow_hub", '"jax"': "jax"}
SHOW = """
import numpy as np
assert not any(name.startswith("simclr_tf2") for name in __import__("sys").modules)
for name, value in (("h", globals().get("h")), ("z", globals().get("z"))):
    if value is not None:
        assert np.isfinite(np.asarray(value)).all()
        print(name, *np.shape(value))
"""


@pytest.fixture(scope="module")
def desk(finished, tmp_path_factory):
    """A folder with the run that the page speaks of."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(finished[0], folder / "runs/quickstart")
    shutil.move(
        folder / "runs/quickstart/saved_model/12",
        folder / "runs/quickstart/saved_model/2501",
    )
    return folder


def told_by(code, desk):
    """What a block computes: name -> shape."""
    code = f"import os; os.chdir({str(desk)!r})\n{code}{SHOW}"
    lines = command_line.python(code).splitlines()
    words = [line.split() for line in lines if re.fullmatch(r"[hz]( \d+)+", line)]
    return {name: tuple(map(int, shape)) for name, *shape in words}


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS[:-1], ids=lambda code: code.split("\n")[-2])
def test_a_block_runs_on_a_finished_run(desk, code):
    for words, package in NEEDS.items():
        if words in code:
            pytest.importorskip(package)
    count = 1 if "serving_bytes" in code else 8
    told = told_by(code, desk)
    assert told == ({} if "fit(" in code else {"h": (count, 64)})


@pytest.mark.slow
def test_the_block_on_endpoints_runs_after_its_command(desk, monkeypatch):
    monkeypatch.chdir(desk)
    (command,) = [
        found
        for found in page_commands.commands("docs/export.md")
        if found.program == "run.py"
    ]
    program_flags.forget()
    flags.parse(["run.py", *command.arguments])
    workflows.run(flags.config_from_flags(program_flags.absl_flags.FLAGS))
    program_flags.forget()
    assert told_by(BLOCKS[-1], desk) == {"h": (8, 64), "z": (8, 16)}


def test_there_is_a_block_for_each_ecosystem():
    text = "\n".join(BLOCKS)
    for words in ("jax", "fit(", "tf.saved_model.load", "hub.load", "hub.KerasLayer"):
        assert words in text
    assert len(BLOCKS) == 7
