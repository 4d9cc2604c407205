"""Keys that docs/results.md documents, and those of a document that it does not."""

import re

from tests.command_line import ROOT

# Objects whose keys are names that the user or the data chose.
BY_NAME = (
    "against",
    "results",
    "semi",
    "transfer",
    "transfer_finetune",
    "transfer_random_init",
)
# Their keys are K of kNN, settings of the config, or phases: named in words.
IN_WORDS = ("k_used", "skipped", "timings", "optimizer")


def documented():
    """Keys of results.json: in the tables before those of the other files."""
    page = _page().split("\n## Files of a run folder\n")[0]
    small = re.findall(r"`(count|digest|labels|fraction|score)`", page)  # of objects
    return _first_cells(page) | set(small)


def documented_scalars():
    """Keys of metrics.jsonl."""
    return _first_cells(_page().split("\nLines of metrics.jsonl ")[1])


def _page():
    return (ROOT / "docs/results.md").read_text()


def _first_cells(page):
    """Texts in the first cells of the rows of tables."""
    cells = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def undocumented(document):
    """Keys of a results.json, at any depth, that the page does not name."""
    return _missing(document, documented())


def _missing(value, known):
    if isinstance(value, list):
        return set().union(*(_missing(part, known) for part in value))
    if not isinstance(value, dict):
        return set()
    found = {key for key in value if re.sub(r"(_k)\d+$", r"\1K", key) not in known}
    for key, part in value.items():
        if key in IN_WORDS:
            continue
        if key in BY_NAME and isinstance(part, dict):
            part = list(part.values())
        elif key == "comparison":
            part = [record for run in part.values() for record in run.values()]
        found |= _missing(part, known)
    return found
