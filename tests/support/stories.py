"""Which tests are stories (they run the program), and how long each kind takes.

The marker is found, not written: a test is a story if its function, or a fixture that
it has, refers to ``subprocess``, ``runpytest_subprocess`` or ``workflows.run``, itself
or through functions of the tests that it refers to. ``command_line.run``, ``start`` and
``python`` are such functions; ``command_line.main``, for usage errors, is none. Where
that finds too little (a function in a parameter, say) the test is stopped when it
starts Python, and asks for the marker.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import types
from collections import Counter

import pytest

MARK = "story"
STARTERS = {"subprocess", "runpytest_subprocess"}
WORKFLOW = ("workflows", "run")
KINDS = ("quick", MARK, "slow")  # what is both is slow


@functools.cache
def _references(function) -> tuple[set[str], set[tuple[str, str]]]:
    """Names in a function's source, and attributes of names."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    pairs = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= STARTERS & {alias.name for alias in node.names}
    return names, pairs


def _of_tests(name: str) -> bool:
    return name.partition(".")[0] in ("tests", "conftest") or "test_" in name


def runs_the_program(function, seen: frozenset = frozenset()) -> bool:
    """Whether the function refers to what runs it, itself or through others."""
    function = inspect.unwrap(function)
    if not isinstance(function, types.FunctionType) or function in seen:
        return False
    if not _of_tests(function.__module__):
        return False
    names, pairs = _references(function)
    if WORKFLOW in pairs or STARTERS & (names | {name for _, name in pairs}):
        return True
    known = {name: function.__globals__.get(name) for name in names}
    called = list(known.values())
    for name, attribute in pairs:
        if isinstance(known.get(name), types.ModuleType):
            called.append(getattr(known[name], attribute, None))
    seen |= {function}
    return any(
        runs_the_program(other, seen)
        for other in called
        if isinstance(other, types.FunctionType)
    )


def is_story(item) -> bool:
    """Whether the test, or a fixture that it has, runs the program."""
    functions = [item.function]
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        functions.append(definitions[-1].func)
    return any(map(runs_the_program, functions))


class Stories:
    """Marks stories, holds the others to it, and adds up the seconds of each kind."""

    def __init__(self) -> None:
        self._running: str | None = None  # a test that is no story
        self.tests: Counter = Counter()
        self.seconds: Counter = Counter()

    @pytest.hookimpl(tryfirst=True)  # before tests are chosen by marker
    def pytest_collection_modifyitems(self, items) -> None:
        for item in items:
            if is_story(item):
                item.add_marker(MARK)

    def install(self) -> None:
        sys.addaudithook(self._started)  # stays, but only looks while a test runs

    def _started(self, event, args) -> None:
        if event == "subprocess.Popen" and self._running:
            command = (
                args[1] if isinstance(args[1], str) else " ".join(map(str, args[1]))
            )
            if "python" in command:
                raise RuntimeError(
                    f"{self._running} starts a process: mark it as story"
                )

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self._running = None if item.get_closest_marker(MARK) else item.nodeid
        yield
        self._running = None

    # In the process that reports.

    def pytest_runtest_logreport(self, report) -> None:
        kind = next((k for k in reversed(KINDS) if k in report.keywords), "quick")
        self.tests[kind] += report.when == "setup"
        self.seconds[kind] += report.duration

    def pytest_terminal_summary(self, terminalreporter) -> None:
        told = [
            f"{kind} {self.seconds[kind]:.0f} s ({self.tests[kind]})"
            for kind in KINDS
            if self.tests[kind]
        ]
        if told:
            line = "seconds, summed over processes (tests): " + ", ".join(told)
            terminalreporter.write_line(line)
