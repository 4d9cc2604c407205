"""What users may import: a frozen list, loaded when it is used."""

import importlib
import re

import pytest

import simclr_tf2
from tests import command_line

MODULES = {
    "augmentations",
    "data",
    "evaluation",
    "losses",
    "models",
    "optimizers",
    "saved_model",
}
NAMES = {"LARS", "build_resnet", "load_encoder", "nt_xent", "two_views"}
README = (command_line.ROOT / "README.md").read_text()
LIBRARY = re.search(r"## Library\n(.*?)\n## ", README, re.DOTALL)[1]


def test_the_public_names_are_these():
    """A name that goes breaks programs of users: change CHANGELOG.md with this list."""
    assert set(simclr_tf2.__all__) == MODULES | NAMES
    assert set(dir(simclr_tf2)) >= MODULES | NAMES | {"__version__"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_public_module_is_an_attribute(name):
    module = getattr(simclr_tf2, name)
    assert module is importlib.import_module(f"simclr_tf2.{name}")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_is_that_of_a_public_module(name):
    homes = [getattr(simclr_tf2, module) for module in MODULES]
    found = getattr(simclr_tf2, name)
    assert [home for home in homes if getattr(home, name, None) is found]
    assert found.__doc__


def test_the_readme_shows_every_name_but_the_module_of_data_sets():
    used = set(re.findall(r"(\w+)\.(\w+)\(", LIBRARY))
    assert {name for _, name in used} == NAMES
    assert {module for module, _ in used} | {"evaluation", "data"} == MODULES


def test_importing_the_package_imports_no_tensorflow_until_a_name_is_used():
    code = (
        f"import sys; sys.path.insert(0, {str(command_line.ROOT)!r}); "
        "import simclr_tf2; dir(simclr_tf2); print('tensorflow' in sys.modules); "
        "simclr_tf2.nt_xent; print('tensorflow' in sys.modules)"
    )
    assert command_line.python(code).split() == ["False", "True"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nt_xnet'"):
        simclr_tf2.nt_xnet  # noqa: B018
    with pytest.raises(ImportError):
        from simclr_tf2 import nt_xnet  # noqa: F401
