"""A section at the end of a test run: what golden tests read and compared.

Counted where it happens, so no test has to report anything: arrays taken out of the
.npz files of tests/golden, other files of that folder that were opened, and the numbers
that passed through a comparison of ``numpy.testing``. An array that is read by a module
whose golden tests failed does not count; comparisons by bare ``assert`` are not counted
as numbers, only as tests.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent / "golden"
MARK = "golden"
COMPARISONS = ("assert_allclose", "assert_array_equal", "assert_array_almost_equal")


class GoldenReport:
    """Counts in the process that runs tests; adds up in the one that reports."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = str(folder.resolve())
        self._running = False
        self._reads: set[str] = set()
        self._checks, self._numbers = 0, 0
        self.tests: dict[str, Counter] = defaultdict(Counter)
        self.reads: dict[str, set[str]] = defaultdict(set)
        self.counts: dict[str, Counter] = defaultdict(Counter)
        self._undo: list = []

    # In the process that runs tests.

    def install(self) -> None:
        """Listen to files, arrays and comparisons, until ``pytest_unconfigure``."""
        kind = np.lib.npyio.NpzFile
        self._replace(kind, "__getitem__", self._reading(kind.__getitem__))
        for name in COMPARISONS:
            comparison = getattr(np.testing, name)
            self._replace(np.testing, name, self._comparing(comparison))
        sys.addaudithook(self._opened)  # stays, but only looks while a test runs

    def pytest_unconfigure(self) -> None:
        self._running = False
        while self._undo:
            setattr(*self._undo.pop())

    def _replace(self, owner, name, function) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, function)

    def _reading(self, getitem):
        def read(archive, key):
            if self._running and self._ours(archive.zip.filename):
                self._reads.add(f"{Path(archive.zip.filename).name}:{key}")
            return getitem(archive, key)

        return read

    def _comparing(self, comparison):
        def compare(actual, desired, *args, **kwargs):
            __tracebackhide__ = True
            comparison(actual, desired, *args, **kwargs)
            self._checks += 1
            self._numbers += max(np.size(actual), np.size(desired))

        return compare

    def _opened(self, event, args) -> None:
        if event == "open" and self._running and self._ours(args[0]):
            self._reads.add(Path(args[0]).name)

    def _ours(self, path) -> bool:
        # by text: an audit hook must neither raise nor open anything
        return isinstance(path, str) and path.startswith(self._folder)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self._running = True
        yield
        self._running = False

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Put what this phase did into its report, which travels to the reporter."""
        report = (yield).get_result()
        found = {
            "reads": sorted(self._reads),
            "checks": self._checks,
            "numbers": self._numbers,
        }
        self._reads, self._checks, self._numbers = set(), 0, 0
        if any(found.values()):
            # a copy: phases of one test share the list
            report.user_properties = [*report.user_properties, (MARK, found)]

    # In the process that reports.

    def pytest_runtest_logreport(self, report) -> None:
        module = report.nodeid.split("::")[0]
        golden = MARK in report.keywords
        if golden and report.when == "call":
            self.tests[module][report.outcome] += 1
        for name, found in report.user_properties:
            if name == MARK:
                self.reads[module] |= set(found["reads"])
                if golden and report.passed:
                    self.counts[module].update(
                        checks=found["checks"], numbers=found["numbers"]
                    )

    def pytest_terminal_summary(self, terminalreporter) -> None:
        lines = self.lines()
        if lines:
            terminalreporter.section("golden vectors compared")
            for line in lines:
                terminalreporter.write_line(line)

    def lines(self) -> list[str]:
        """One line per module with golden tests that ran, and the sum."""
        modules = sorted(module for module in self.tests if self.tests[module])
        if not modules:
            return []
        lines = [
            _line(m, self.tests[m], self.reads[m], self.counts[m]) for m in modules
        ]
        reads = set().union(
            *(self.reads[m] for m in modules if not self.tests[m]["failed"])
        )
        tests = sum((self.tests[m] for m in modules), Counter())
        counts = sum((self.counts[m] for m in modules), Counter())
        return [*lines, _line("in all", tests, reads, counts)]


def _line(name: str, tests: Counter, reads: set[str], counts: Counter) -> str:
    arrays = Counter(read.split(":")[0] for read in reads if ":" in read)
    files = [f"{n} arrays of {file}" for file, n in sorted(arrays.items())]
    files += sorted({r for r in reads if ":" not in r} - set(arrays))
    if name == "in all":
        files = [f"{sum(arrays.values())} arrays of {len(files)} files"]
    words = [
        f"{tests['passed']} of {sum(tests.values())} tests passed",
        *files,
    ]
    if counts["checks"]:  # none: compared by bare asserts or tests of distributions
        words.append(
            f"{counts['numbers']:,} numbers in {counts['checks']:,} comparisons"
        )
    return f"{name}: {'; '.join(words)}"
