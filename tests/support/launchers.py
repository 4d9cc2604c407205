"""Files of deploy/: manifests, the commands in them, and programs that stand in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.command_line import ROOT
from tests.support import page_commands

DEPLOY = ROOT / "deploy"
MANIFESTS = (
    "kubernetes/volume.yaml",
    "kubernetes/job.yaml",
    "kubeflow/tfjob.yaml",
    "vertex/custom_job.yaml",
)
SCRIPTS = ("slurm/pretrain.sbatch", "gce/tpu_vm.sh")
# In a stand-in started by ``start``: prints its arguments as one line of JSON.
_CODE = "import json, sys; print(json.dumps(sys.argv[1:]))"
RECORD = f""""$PYTHON" -c '{_CODE}' "$@\""""


def documents(name):
    """The YAML documents of a file of deploy/."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def arguments_in(value):
    """Each list that is called ``args``: what containers pass to their entrypoint.

    ``$(JOB_COMPLETION_INDEX)``, which Kubernetes replaces, is 1.
    """
    if isinstance(value, list):
        return [found for item in value for found in arguments_in(item)]
    if not isinstance(value, dict):
        return []
    if "args" in value:
        number = "$(JOB_COMPLETION_INDEX)"
        return [[word.replace(number, "1") for word in value["args"]]]
    return arguments_in(list(value.values()))


def of_manifests():
    """(file, flags of the program) of every container."""
    return [
        (name, arguments)
        for name in MANIFESTS
        for arguments in arguments_in(documents(name))
    ]


def of_pages():
    """(command of a page, flags that it passes on to the program in a launcher)."""
    every = [c for page in page_commands.PAGES for c in page_commands.commands(page)]
    found = [(command, _passed_on(command.words)) for command in every]
    return [(command, flags) for command, flags in found if flags is not None]


def _passed_on(words):
    if words[0] == "sbatch":
        at = [i for i, word in enumerate(words) if word.endswith(".sbatch")]
    elif words[:2] == ("docker", "run"):
        at = [i for i, word in enumerate(words) if word.startswith("simclr-tf2")]
    elif words[0] == "deploy/gce/tpu_vm.sh" and "train" in words:
        at = [i for i, word in enumerate(words) if word == "--"]
    else:
        return None
    return list(words[at[0] + 1 :])


def tool(name):
    """Path of a command that a package of requirements-dev.txt installs."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.is_file() else shutil.which(name)
    assert path, f"{name} is missing; pip install -r requirements-dev.txt"
    return path


def stand_in(folder, name, script):
    """Write an executable Bash script that stands in for a program."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def start(script, *arguments, programs, folder, **variables):
    """Run a script of deploy/ with ``programs`` first on the path."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(DEPLOY / script), *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
