"""The marker ``story`` is found where a process is started, however far away."""

import subprocess
import sys
import types

import pytest

from tests import command_line
from tests.support import stories


def test_starting_is_found_through_functions_and_modules():
    def by_module():
        return command_line.run("--help")

    def by_name():
        return helper()

    def data_only(workflows):
        return workflows.run(command_line.TINY)

    def imported_inside():
        import subprocess as other

        return other

    assert stories.starts_a_process(command_line.python)
    assert stories.starts_a_process(by_module)
    assert stories.starts_a_process(by_name)
    assert stories.starts_a_process(imported_inside)
    assert not stories.starts_a_process(data_only)
    assert not stories.starts_a_process(command_line.environment)
    assert not stories.starts_a_process(subprocess.run)  # the library's own


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
