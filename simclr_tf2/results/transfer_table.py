"""Transfer results as one table: a line per data set, ours next to the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf2.data.transfer_sets import METRICS, TRANSFER_SETS

# Method of --transfer_methods -> key of results.json.
KEYS = {
    "linear": "transfer",
    "finetune": "transfer_finetune",
    "random_init": "transfer_random_init",
}
TITLES = {
    "linear": "linear",
    "finetune": "fine-tuned",
    "random_init": "from random weights",
}
PUBLISHED_TITLE = "paper"
PUBLISHED_NOTE = "paper: ResNet-50 (4x), arXiv 2002.05709, table 8"

Records = Mapping[str, Mapping[str, Any]]


def render(records: Mapping[str, Records]) -> str:
    """Format as a table what results.json holds of the protocol.

    Args:
        records: A value of ``KEYS`` -> name of the set -> record.
    """
    return render_transfer(
        {m: records[key] for m, key in KEYS.items() if key in records}
    )


def scalars(records: Mapping[str, Records]) -> dict[str, float]:
    """Return what was measured as ``transfer/cifar10/linear`` -> value."""
    return {
        f"transfer/{name}/{method}": float(record["value"])
        for method, key in KEYS.items()
        for name, record in records.get(key, {}).items()
        if record["value"] is not None
    }


def render_transfer(results: Mapping[str, Records]) -> str:
    """Format results as aligned plain text, in percent.

    There are two columns for each way to transfer. The mean is over the sets that were
    measured; the paper's is given only where it has a value for each of them, so that
    the two compare.

    Args:
        results: A key of ``TITLES`` -> name of the set -> record: ``value`` (None: not
            measured, with ``not_measured``), ``measure``, ``published`` (or None), and
            ``ci95`` if there is one.
    """
    methods = [method for method in results if results[method]]
    if not methods:
        return "(no results)"
    first = results[methods[0]]
    header = ["transfer, %", ""]
    rows = [[_title(name), METRICS[first[name]["measure"]]] for name in first]
    measured = [name for name in first if first[name]["value"] is not None]
    mean = [f"mean of {len(measured)}", ""]
    for method in methods:
        header += [TITLES[method], PUBLISHED_TITLE]
        records = results[method]
        for name, row in zip(first, rows, strict=True):
            row += [_cell(records[name]), _percent(records[name]["published"])]
        for key in ("value", "published"):
            mean.append(_mean([records[name][key] for name in measured]))
    table = [header, *rows, mean]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_line(cells, widths) for cells in table]
    rule = "-" * max(map(len, lines))
    return "\n".join(
        [lines[0], rule, *lines[1:-1], rule, lines[-1], *_notes(results, methods)]
    )


def _notes(results: Mapping[str, Records], methods: Sequence[str]) -> list[str]:
    records = [record for method in methods for record in results[method].values()]
    missing = dict.fromkeys(  # one line where several methods have one reason
        f"{_title(name)} not measured: {record['not_measured']}"
        for method in methods
        for name, record in results[method].items()
        if record["value"] is None
    )
    notes = []
    if any(record["published"] is not None for record in records):
        notes.append(PUBLISHED_NOTE)
    if any(record.get("ci95") for record in records):
        notes.append("[95 % interval over test images]")
    return [*(["; ".join(notes)] if notes else []), *missing]


def _title(name: str) -> str:
    return TRANSFER_SETS[name].title if name in TRANSFER_SETS else name


def _cell(record: Mapping[str, Any]) -> str:
    if record["value"] is None or not record.get("ci95"):
        return _percent(record["value"])
    low, high = (f"{100 * bound:.1f}" for bound in record["ci95"])
    return f"{_percent(record['value'])} [{low}, {high}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    complete = bool(known) and len(known) == len(values)
    return _percent(sum(known) / len(known) if complete else None)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    words = [c.ljust(w) for c, w in zip(cells[:2], widths[:2], strict=True)]
    rest = (c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True))
    return "   ".join([*words, *rest]).rstrip()
