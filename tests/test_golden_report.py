"""The section that lists what golden tests compared counts what happened, no more."""

import numpy as np
import pytest

from tests.golden_report import GoldenReport

pytest_plugins = "pytester"
CONFTEST = """
from pathlib import Path
from tests.golden_report import GoldenReport

def pytest_configure(config):
    config.addinivalue_line("markers", "golden: vectors")
    report = GoldenReport(Path(__file__).parent / "vectors")
    report.install()
    config.pluginmanager.register(report)
"""
TESTS = """
import json
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent

@pytest.fixture(scope="module")
def vectors():
    return np.load(HERE / "vectors" / "a.npz")

def test_without_the_mark_reads_another(vectors):
    np.testing.assert_array_equal(np.load(HERE / "other.npz")["x"], np.ones(100))

@pytest.mark.golden
@pytest.mark.parametrize("key", ["one", "two"])
def test_reads(vectors, key):
    np.testing.assert_allclose(vectors[key], np.ones(3))
    assert json.loads((HERE / "vectors" / "b.json").read_text()) == [1]
"""
WRONG = """
import numpy as np
import pytest
from pathlib import Path

@pytest.mark.golden
def test_wrong():
    values = np.load(Path(__file__).parent / "vectors" / "a.npz")["three"]
    np.testing.assert_array_equal(values, np.zeros(3))
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Two modules with golden tests; the second one fails."""
    from tests.command_line import ROOT

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = pytester.mkdir("vectors")
    ones = {name: np.ones(3) for name in ("one", "two", "three", "unread")}
    np.savez(folder / "a.npz", **ones)
    (folder / "b.json").write_text("[1]")
    np.savez(pytester.path / "other.npz", x=np.ones(100))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_right=TESTS, test_wrong=WRONG)
    return pytester


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "xdist"])
def test_the_section_lists_arrays_files_tests_and_numbers(project, workers):
    if workers:
        pytest.importorskip("xdist")
    result = project.runpytest_subprocess("-p", "no:cacheprovider", *workers)
    result.stdout.fnmatch_lines(
        [
            "*golden vectors compared*",
            "test_right.py: 2 of 2 tests passed; 2 arrays of a.npz; b.json; "
            "6 numbers in 2 comparisons",
            "test_wrong.py: 0 of 1 tests passed; 1 arrays of a.npz",
            "in all: 2 of 3 tests passed; 2 arrays of 2 files; "
            "6 numbers in 2 comparisons",
        ]
    )


def test_without_golden_tests_there_is_no_section(project):
    result = project.runpytest_subprocess(
        "-p", "no:cacheprovider", "-m", "not golden", "test_right.py"
    )
    result.stdout.no_fnmatch_line("*golden vectors compared*")
    result.assert_outcomes(passed=1, deselected=2)


def test_what_was_replaced_is_put_back():
    kind, before = np.lib.npyio.NpzFile, np.testing.assert_allclose
    getitem, report = kind.__getitem__, GoldenReport()
    report.install()
    assert np.testing.assert_allclose is not before
    report.pytest_unconfigure()
    assert np.testing.assert_allclose is before and kind.__getitem__ is getitem
