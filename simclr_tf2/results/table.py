"""Results as a table for the terminal and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf2.protocols import title, with_chosen_features

Records = Sequence[Mapping[str, Any]]
MEASURES = {"map": "mAP", "map11": "11-point mAP", "mean_per_class": "mean per class"}


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Format results as aligned plain text, in percent.

    There is a line per row and a column per protocol. A column is top-1 unless its
    title says otherwise.

    Each value stands with its 95 % interval; below the table, what the numbers rest
    on. ``*`` marks a logistic regression that did not converge, ``!`` a network whose
    training loss ended no better than guessing.

    Args:
        results: What ``evaluate_rows`` returns.
    """
    if not results:
        return "(no results)"
    records = list(results.values())
    protocols = list(dict.fromkeys(r["protocol"] for r in records))
    rows = list(dict.fromkeys(r["row"] for r in records))
    by_place = {(r["row"], r["protocol"]): r for r in records}
    header = ["top-1 %", *(_title(p, records) for p in protocols)]
    body = [
        [row, *(_cell(by_place.get((row, protocol))) for protocol in protocols)]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = "-" * (sum(widths) + 3 * (len(widths) - 1))
    lines = [_line(header, widths), rule, *(_line(cells, widths) for cells in body)]
    return "\n".join([*lines, rule, *_notes(records)])


def _title(protocol: str, records: Records) -> str:
    measures = {r.get("measure", "top1") for r in records if r["protocol"] == protocol}
    words = [MEASURES[m] for m in sorted(measures) if m in MEASURES]
    return " ".join([title(protocol), *words])


def _line(cells: list[str], widths: list[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "   ".join(
        [first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    )


def _cell(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "-"
    mark = "" if record.get("converged", True) else "*"
    mark += "!" if record.get("no_better_than_chance") else ""
    if record.get("ci95") is None:
        return f"{100 * record['value']:.1f}{mark}"
    low, high = record["ci95"]
    return f"{100 * record['value']:.1f}{mark} [{100 * low:.1f}, {100 * high:.1f}]"


def _mean_per_class(record: Mapping[str, Any]) -> list[str]:
    """Return the mean over classes where they are not equally frequent in test."""
    value = record.get("mean_per_class", 0.0)
    if (
        "mean_per_class_ci95" not in record
        or abs(value - record.get("top1", value)) < 5e-5
    ):
        return []
    low, high = record["mean_per_class_ci95"]
    return [f"mean per class {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}] %"]


def _notes(records: Records) -> list[str]:
    first = records[0]
    facts = [f"{first['test_examples']:,} test images"]
    if "train_examples" in first:
        facts.insert(0, f"{first['train_examples']:,} labelled train images")
    if "num_classes" in first:
        facts.append(f"{first['num_classes']} classes")
    if first.get("chance") is not None:
        facts.append(f"commonest class {100 * first['chance']:.1f} %")
    notes = [", ".join(facts) + "; [95 % interval over test images]"]
    for protocol in dict.fromkeys(r["protocol"] for r in records):
        record = next(r for r in records if r["protocol"] == protocol)
        settings = [f"{n} {record[n]:g}" for n in ("C", "k") if n in record]
        settings = _features_read(record) + settings
        settings += [record["scaler"]] if record.get("scaler") else []
        settings += [f"top-5 {100 * record['top5']:.1f} %"] if "top5" in record else []
        settings += _mean_per_class(record)
        settings.append(f"seed {record['seed']}")
        notes.append(f"{title(protocol)}: {', '.join(settings)}")
    if not all(r.get("converged", True) for r in records):
        notes.append("* did not converge: the value may still move")
    notes += capped_notes(records)
    return [*notes, *chance_notes({record["row"]: record for record in records})]


def _features_read(record: Mapping[str, Any]) -> list[str]:
    """Return which features of which view, of protocols that can read more than h."""
    if record["protocol"] not in with_chosen_features() or "features" not in record:
        return []
    dims = f" ({record['feature_dim']:,} numbers)" if "feature_dim" in record else ""
    return [f"{record['features']}{dims} of {record['view']}"]


def capped_notes(records: Records) -> list[str]:
    """Return a line if a published protocol did not learn from all training images.

    ``--probe_examples`` leaves some out.
    """
    capped = [record for record in records if "capped_by" in record]
    if not capped:
        return []
    titles = dict.fromkeys(title(r["protocol"]) for r in capped)
    first = capped[0]
    return [
        f"{', '.join(titles)}: learned from {first['train_examples']:,} of "
        f"{first['train_examples_available']:,} images ({first['capped_by']}); "
        "published values learned from all"
    ]


def chance_notes(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each row marked ``!``.

    Args:
        records: Name of the row -> its record.
    """
    return [
        f"! {name}: the training loss ended at {record['train_loss']:.3f}, no better "
        f"than guessing ({record['chance_loss']:.3f})"
        for name, record in records.items()
        if record.get("no_better_than_chance")
    ]
