"""README's Python snippets run as written, on the folder of a finished run."""

import ast
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.command_line import ROOT

README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# What requirements.txt installs under another name, and this package.
ALIASES = {"sklearn": "scikit-learn", "PIL": "pillow", "simclr_tf2": ""}


def packages(code):
    """Top-level packages that ``code`` imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


def test_there_are_snippets_of_each_export_and_of_the_library():
    text = "\n".join(SNIPPETS)
    for words in ("encoder.keras", "saved_model/", "build_resnet", "nt_xent"):
        assert words in text


@pytest.mark.parametrize("code", SNIPPETS, ids=lambda code: code.split("\n")[0])
def test_a_snippet_runs_on_a_finished_run(finished, code):
    folder, _ = finished
    code = code.replace("runs/quickstart", str(folder))
    code = re.sub(r"saved_model/\d+", "saved_model/12", code)
    rng = np.random.default_rng(0)
    names = {
        "images": rng.random([8, 32, 32, 3], np.float32),
        "image": tf.constant(rng.random([40, 50, 3], np.float32)),
        "projections": tf.constant(rng.normal(size=[8, 16]).astype(np.float32)),
    }
    exec(compile(code, "README.md", "exec"), names)
    made = [names[n] for n in ("h", "endpoints", "backbone", "encoder") if n in names]
    assert made
    if "h" in names:
        assert names["h"].shape == (8, 64) and np.isfinite(names["h"]).all()
    if "endpoints" in names:
        assert names["endpoints"]["final_avg_pool"].shape == (8, 64)


@pytest.mark.parametrize("code", SNIPPETS, ids=lambda code: code.split("\n")[0])
def test_a_snippet_imports_only_what_requirements_install(code):
    required = re.findall(
        r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    required = {name.replace("-", "_") for name in required}
    wanted = {ALIASES.get(name, name) for name in packages(code)} - {""}
    assert wanted <= required
