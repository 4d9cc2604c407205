"""The marker ``story`` is found where the program is run, however far away."""

import subprocess
import sys
import types

import pytest

from simclr_tf2 import workflows
from tests import command_line
from tests.support import stories


def test_running_is_found_through_functions_and_modules():
    def by_module():
        return command_line.run("--help")

    def by_name():
        return helper()

    def workflow():
        return workflows.run(None)

    def data_only(other):
        return other.run(command_line.TINY)

    def imported_inside():
        import subprocess as other

        return other

    assert stories.runs_the_program(command_line.python)
    assert stories.runs_the_program(by_module)
    assert stories.runs_the_program(by_name)
    assert stories.runs_the_program(workflow)
    assert stories.runs_the_program(imported_inside)
    assert not stories.runs_the_program(data_only)
    assert not stories.runs_the_program(command_line.environment)
    assert not stories.runs_the_program(command_line.main)
    assert not stories.runs_the_program(subprocess.run)  # the library's own


def helper():
    return by_fixture()


def by_fixture():
    return command_line.start("--help")


@pytest.fixture
def started():
    return helper


def test_a_fixture_counts(request, started):
    assert stories.is_story(request.node)
    assert request.node.get_closest_marker("story")


def test_the_fixtures_test_alone_counts(request):
    assert not request.node.get_closest_marker("story")


START = subprocess.run  # what the rule cannot see


def test_a_process_that_the_rule_does_not_see_is_stopped():
    with pytest.raises(RuntimeError, match="mark it as story"):
        START([sys.executable, "-c", ""], check=True)


def test_seconds_are_added_by_kind():
    found = stories.Stories()
    for keywords in ({}, {"story": 1}, {"story": 1, "slow": 1}):
        for when, seconds in (("setup", 0.5), ("call", 2.0)):
            found.pytest_runtest_logreport(
                types.SimpleNamespace(keywords=keywords, when=when, duration=seconds)
            )
    assert found.tests == dict.fromkeys(stories.KINDS, 1)
    assert found.seconds == dict.fromkeys(stories.KINDS, 2.5)
