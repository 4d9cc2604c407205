"""The Dockerfile: hadolint, and what it copies is what the wheel is built from."""

import json
import re
import subprocess

import pytest

from tests.command_line import ROOT
from tests.support import launchers
from tests.support.wheel_sources import SOURCES, TEXTS

DOCKERFILE = launchers.DEPLOY / "Dockerfile"


def instructions(name):
    """Arguments of each instruction of that name, continued lines joined."""
    text = re.sub(r"\\\n", "", DOCKERFILE.read_text())
    return re.findall(rf"^{name} +(.*)$", text, re.M)


def hadolint(text):
    """Exit code and output of hadolint for a Dockerfile."""
    command = [launchers.tool("hadolint"), "--no-color", "-"]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def test_hadolint_finds_nothing():
    assert hadolint(DOCKERFILE.read_text()) == (0, "")


@pytest.mark.parametrize(
    ("line", "changed", "rule"),
    [
        ("ENTRYPOINT", "ENTRYPOINT simclr-tf2", "DL3025"),
        ("WORKDIR /runs", "WORKDIR runs", "DL3000"),
        ("USER", "USER root", "DL3002"),
    ],
)
def test_hadolint_finds_a_mistake(line, changed, rule):
    text, count = re.subn(rf"^{line}.*$", changed, DOCKERFILE.read_text(), flags=re.M)
    assert count == 1
    code, output = hadolint(text)
    assert code != 0 and rule in output


def test_the_image_is_built_from_what_the_wheel_needs():
    """tests/test_wheel.py builds and runs a wheel from exactly these files."""
    copied = [line.split() for line in instructions("COPY") if "--from" not in line]
    assert {name for *names, _ in copied for name in names} == {*SOURCES, *TEXTS}


def test_the_builder_gets_what_is_copied_and_no_more():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*" and rules[-1] == "**/__pycache__"
    assert {rule.removeprefix("!") for rule in rules[1:-1]} == {*SOURCES, *TEXTS}


def test_the_program_is_process_1_and_not_root():
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["simclr-tf2"]
    assert "simclr-tf2 = " in (ROOT / "pyproject.toml").read_text()
    (user,) = instructions("USER")
    assert user == "1000:1000"
    assert "useradd --uid 1000" in instructions("RUN")[-1]


def test_extras_and_python_of_the_image_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text()
    (extra,) = re.findall(r"EXTRAS=\[(\w+)\]", DOCKERFILE.read_text())
    assert re.search(rf"^{extra} = \[", project, re.M)
    minor = int(instructions("ARG")[0].partition("=3.")[2])
    lowest, above = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project
    ).groups()
    assert int(lowest) <= minor < int(above)
