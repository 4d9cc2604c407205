"""Commands of the program in launchers, and in pages that use them, parse."""

import pytest

from tests.support import launchers, program_flags

MANIFESTS = launchers.of_manifests()
PAGES = launchers.of_pages()


@pytest.fixture(autouse=True)
def _flags_as_before():
    yield
    program_flags.forget()


def test_no_container_is_overlooked():
    text = "".join(
        (launchers.DEPLOY / name).read_text() for name in launchers.MANIFESTS
    )
    assert len(MANIFESTS) == text.count(" args:") == 4


@pytest.mark.parametrize(
    ("name", "arguments"), MANIFESTS, ids=[name for name, _ in MANIFESTS]
)
def test_the_command_of_a_container_is_valid(name, arguments):
    program_flags.assert_valid(arguments)


def test_pages_use_the_launchers():
    programs = {command.words[0] for command, _ in PAGES}
    assert programs == {"sbatch", "docker", "deploy/gce/tpu_vm.sh"}


@pytest.mark.parametrize(
    ("command", "arguments"), PAGES, ids=[str(command) for command, _ in PAGES]
)
def test_flags_that_a_command_of_a_page_passes_on_are_valid(command, arguments):
    program_flags.assert_valid(arguments)


def test_every_file_of_the_folder_is_checked():
    found = {
        str(path.relative_to(launchers.DEPLOY))
        for path in launchers.DEPLOY.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found == {*launchers.MANIFESTS, *launchers.SCRIPTS, "Dockerfile"}
