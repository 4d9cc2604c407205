"""What is promised of the repository: versions in one piece, no large files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command_line import ROOT

LIMIT = 500_000  # bytes
# Larger, with a reason: vectors made by running other programs. They are what the tests
# compare with, they do not change, and they are compressed as far as numbers can be.
LARGE = {
    "tests/golden/augment.npz",
    "tests/golden/contrastive_loss.npz",
    "tests/golden/lars.npz",
    "tests/golden/reference_run/files.tar.xz",
    "tests/golden/resnet_d50_sk0.0625_img64.npz",
    "tests/golden/resnet_d50_sk0_img64.npz",
}


def tracked():
    """Paths of the files that Git knows; skips where this is no clone."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Git repository")
    return [name for name in done.stdout.decode().split("\0") if name]


def requirements(text):
    """Package -> its version specifier, of the lines of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in text]
    found = [re.match(r"([A-Za-z][\w-]*)(\[[\w-]+\])?(.*)", line) for line in lines]
    return {match[1]: match[3] for match in found if match}


def development():
    return requirements((ROOT / "requirements-dev.txt").read_text().splitlines())


def hooks():
    """Name of each hook of pre-commit -> the packages it installs."""
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    found = [hook for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
    return {hook["id"]: requirements(hook["additional_dependencies"]) for hook in found}


def test_no_file_is_larger_than_500_kb():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked()}
    assert {name for name, size in sizes.items() if size > LIMIT} == LARGE


@pytest.mark.parametrize("name", ["ruff", "mypy"])
def test_ruff_and_mypy_are_pinned_to_one_version(name):
    assert re.fullmatch(r"==[\d.]+", development()[name])


def test_the_hooks_of_pre_commit_have_the_versions_of_the_requirements():
    known = development() | requirements(
        (ROOT / "requirements.txt").read_text().splitlines()
    )
    assert {"ruff", "ruff-format", "mypy", "import-linter"} <= set(hooks())
    for packages in hooks().values():
        for package, version in packages.items():
            assert version == known.get(package, version), package
            assert version.startswith("==") or package in known, package


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")
def test_the_optional_group_of_developers_is_the_requirements_file():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert requirements(project["optional-dependencies"]["dev"]) == development()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")
def test_every_file_allows_the_same_versions_of_tensorflow():
    import tomllib

    def version_in(lines, package="tensorflow"):
        return requirements(lines)[package]

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    allowed = version_in((ROOT / "requirements.txt").read_text().splitlines())
    assert version_in(groups["gpu"]) == allowed
    assert version_in(groups["export"], "tf-keras") == allowed
    assert development()["tf-keras"] == allowed
    older = (ROOT / "requirements-tf2.20.txt").read_text().splitlines()
    assert version_in(older) == "==2.20.*"  # the oldest that is allowed
    assert allowed.startswith(">=2.20,")


def test_hooks_that_look_at_large_files_leave_the_same_out():
    text = Path(ROOT / ".pre-commit-config.yaml").read_text()
    (pattern,) = set(re.findall(r"^ +exclude: (.*)$", text, re.MULTILINE))
    assert all(re.search(pattern, name) for name in LARGE)
    assert f"--maxkb={LIMIT // 1000}" in text
