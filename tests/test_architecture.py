"""docs/architecture.md and CONTRIBUTING.md name what is there, and all of it."""

import ast
import re
import sys

import pytest

from tests.command_line import ROOT
from tests.support import covered_elsewhere

LIBRARY = ROOT / "simclr_tf2"
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
PAGES = {
    "architecture": ARCHITECTURE,
    "contributing": (ROOT / "CONTRIBUTING.md").read_text(),
}
NEW = "NAME"  # in paths that the steps of CONTRIBUTING.md make


def modules():
    """Sub-packages and top-level modules of the library, but ``__init__``."""
    found = {path.stem for path in LIBRARY.glob("*.py")}
    found |= {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    return found - {"__init__"}


def table(page, heading):
    """First cells of the rows of the table below a heading."""
    part = page.split(f"\n## {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
    return [re.findall(r"`(\w+)`", row) for row in rows]


def test_every_subpackage_and_module_stands_in_the_table_of_layers():
    named = [name for row in table(ARCHITECTURE, "Sub-packages") for name in row]
    assert sorted(named) == sorted(modules())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")
def test_the_table_of_layers_has_the_order_of_the_contract():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    whole = [found for found in contracts if found.get("containers") == ["simclr_tf2"]]
    (layers,) = [found["layers"] for found in whole if found["type"] == "layers"]
    named = [sorted(row) for row in table(ARCHITECTURE, "Sub-packages")]
    assert named == [sorted(layer.split(" | ")) for layer in layers]


def test_the_page_names_each_part_of_evaluation():
    parts = {path.parent.name for path in LIBRARY.glob("evaluation/*/__init__.py")}
    named = re.findall(r"`evaluation/(\w+)/`", ARCHITECTURE)
    assert sorted(set(named)) == sorted(parts)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_on_a_page_exists(page):
    paths = set(re.findall(r"`([\w./]+(?:\.py|/))`", PAGES[page]))
    assert len(paths) > 20
    places = (ROOT, LIBRARY)
    existing = {p for p in paths if any((place / p).exists() for place in places)}
    assert {path for path in paths - existing if NEW not in path} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_function_on_a_page_is_defined(page):
    code = [*LIBRARY.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("*.py")]
    text = "\n".join(path.read_text() for path in code)
    defined = set(re.findall(r"^ *(?:def|class) (\w+)", text, re.MULTILINE))
    called = set(re.findall(r"`(\w+)\(\)`", PAGES[page]))
    tests = set(re.findall(r"`[\w./]*(?:::)?(test_\w+)`", PAGES[page]))
    assert called | tests <= defined, sorted((called | tests) - defined)


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/results.md"])
def test_the_readme_links_the_page(page):
    assert f"({page})" in (ROOT / "README.md").read_text()


def test_the_readme_links_the_page_for_contributors():
    assert "(CONTRIBUTING.md)" in (ROOT / "README.md").read_text()


def test_the_page_is_short():
    assert len(ARCHITECTURE.splitlines()) <= 150


def library_modules():
    """Modules of the library as paths: "data/records"."""
    paths = [p.relative_to(LIBRARY) for p in LIBRARY.rglob("*.py")]
    return {p.with_suffix("").as_posix() for p in paths if p.name != "__init__.py"}


def test_every_module_is_tested_in_a_file_of_its_name_or_a_named_other():
    """``data/order.py`` has ``tests/data/test_order.py``; the list is of the others."""
    tests, elsewhere = ROOT / "tests", covered_elsewhere.by_module()
    own = {
        name
        for name in library_modules()
        if (tests / name).with_name(f"test_{name.split('/')[-1]}.py").exists()
    }
    assert library_modules() - own - set(elsewhere) == set()  # have none: write one
    assert set(elsewhere) & own == set()  # have one now: take them off the list
    assert set(elsewhere) - library_modules() == set()  # are no more
    named = set(elsewhere.values())
    assert {name for name in named if not (tests / f"{name}.py").exists()} == set()


# Everything else below the workflows takes sections of the config, or values.
NAME_THE_CONFIG = {
    "evaluation/finetuning": "starts runs of its own",
    "evaluation/inputs": "opens the splits that all settings of a run name",
    "evaluation/semi_supervised": "starts runs of its own",
    "evaluation/subject": "takes from the config what protocols read",
    "training/finetune_settings": "returns the settings of a run with others in place",
    "training/fitted": "returns the settings of a run with others in place",
    "training/joint_start": "compares all settings between workers",
    "training/labelled": "opens the splits that all settings of a run name",
    "training/precision": "returns the settings of a run with another precision",
    "training/session": "starts a run, which keeps its whole config",
    "training/supervised": "starts a run, which keeps its whole config",
}


def names_the_config(path):
    """Whether a module imports ``Config`` itself, the whole of all settings."""
    tree = ast.parse(path.read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    return any(
        alias.name == "Config"
        for node in imports
        if node.module and node.module.startswith("simclr_tf2.config")
        for alias in node.names
    )


def test_below_the_workflows_few_modules_take_the_whole_config():
    above = ("config/", "workflows/", "report/", "runs/")
    naming = {name for name in library_modules() if names_the_config(module_path(name))}
    assert {n for n in naming if not n.startswith(above)} == set(NAME_THE_CONFIG)


def module_path(name):
    return LIBRARY / f"{name}.py"
