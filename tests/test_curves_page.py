"""docs/curves.md shows what benchmarks/curves.py runs, all of it and no more."""

import re

from benchmarks import curves
from tests import command_line

DOCS = command_line.ROOT / "docs"
PAGE = (DOCS / "curves.md").read_text()


def test_every_case_has_its_row():
    table = PAGE.split("| run |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(curves.CASES)


def test_every_picture_is_there_and_shown():
    shown = set(re.findall(r"\(images/curves_(\w+)\.png\)", PAGE))
    there = {path.stem.removeprefix("curves_") for path in DOCS.glob("images/curves_*")}
    assert shown == there == set(curves.SHOWN.values())
    assert set(curves.SHOWN) <= set(curves.CASES)
