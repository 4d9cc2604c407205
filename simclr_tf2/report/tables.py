"""What was measured, as tables of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.protocols import PROTOCOLS, load, records_of
from simclr_tf2.results import label_free_table, semi_table, transfer_table
from simclr_tf2.results.table import capped_notes

Records = Mapping[str, Mapping[str, Any]]
Table = dict[str, Any]

DESCRIPTIONS = {
    "std": "Deviation of the unit vectors, mean over dimensions",
    "std_if_even": "Deviation of vectors spread evenly over the sphere",
    "alignment": "Squared distance of two views of an image",
    "uniformity": "How evenly the vectors cover the sphere",
    "rankme": "Effective number of dimensions",
    "rankme_max": "Bound of RankMe: images or dimensions",
}


def main_rows(results: Records) -> list[dict[str, Any]]:
    """Return one dict per table row: its name, and value and interval per protocol."""
    rows: dict[str, dict[str, Any]] = {}
    for record in results.values():
        protocol = PROTOCOLS.get(record["protocol"])
        if protocol is None or not protocol.table:
            row = rows.setdefault(record["row"], {"row": record["row"]})
            key = f"{record['protocol']}_{record['measure']}"
            row |= {key: record["value"], f"{key}_ci95": record.get("ci95")}
    return list(rows.values())


def tables(measured: Measured, comparison: str = "") -> list[Table]:
    """List the tables of single protocols, in the order of ``PROTOCOLS``.

    Args:
        measured: What was found.
        comparison: With another run, as text.
    """
    found: list[Table | None] = []
    for name, protocol in PROTOCOLS.items():
        records = records_of(name, measured.others) or _of(measured.results, name)
        if records and protocol.report:
            found.append(load(protocol.report)(records))
    found += [
        _text(
            "Learned from a part of the images",
            "\n".join(capped_notes(list(measured.results.values()))),
        ),
        _text("Beside another run", comparison),
    ]
    return [table for table in found if table]


def _of(results: Records, protocol: str) -> list[Mapping[str, Any]]:
    return [r for r in results.values() if r["protocol"] == protocol]


def neighbours_by_number(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate top-1 and top-5 of ``weighted_knn`` for each number of neighbours."""
    ks = list(records[0]["k_used"])
    rows = [
        [f"{r['row']}, {name}", *(_percent(r[f"{key}_k{k}"]) for k in ks)]
        for r in records
        for key, name in (("top1", "top-1"), ("top5", "top-5"))
        if f"{key}_k{ks[0]}" in r
    ]
    first = records[0]
    return {
        "title": "Nearest neighbours by their number",
        "about": f"In %. {first['metric']}, votes {first['votes']}.",
        "heads": ["", *(f"k = {k}" for k in ks)],
        "rows": rows,
    }


def svm(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate what the SVMs read, and their mean average precision."""
    rows = [[r["row"], f"{r['feature_dim']:,}", _percent(r["map"])] for r in records]
    return {
        "title": "A linear SVM for each class",
        "about": _features_read(records[0]),
        "heads": ["", "dimensions", "mAP %"],
        "rows": rows,
    }


def few_labels(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate mean and deviation over draws of k labelled images of each class."""
    kind = "top1" if "top1_mean" in records[0] else "map"
    rows = [
        [
            r["row"],
            *(
                f"{100 * mean:.1f} ± {100 * std:.1f}"
                for mean, std in zip(r[f"{kind}_mean"], r[f"{kind}_std"], strict=True)
            ),
        ]
        for r in records
    ]
    what = "Top-1" if kind == "top1" else "mAP"
    return {
        "title": "A few labelled images of each class",
        "about": f"{what} in %, mean ± deviation over {records[0]['samples']} draws. "
        + _features_read(records[0]),
        "heads": ["", *(f"{k}" for k in records[0]["shots"])],
        "rows": rows,
    }


def _features_read(record: Mapping[str, Any]) -> str:
    """Say which features of which view a protocol read that can read more than h."""
    if "features" not in record:
        return ""
    return f"Networks give {record['features']} of {record['view']}."


def depths(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the accuracy at each depth of the network."""
    rows = [
        [
            r["row"].removeprefix("SimCLR "),
            f"{r['dim']:,}",
            _percent(r["value"]),
            _interval(r.get("ci95")),
        ]
        for r in records
    ]
    return {
        "title": "A linear classifier at each of five depths",
        "about": "feature1 is the stem, feature5 the last block, each pooled; "
        "AvgPool is h.",
        "heads": ["", "dimensions", "top-1 %", "95 % interval"],
        "rows": rows,
    }


def label_free(records: Records) -> Table:
    """Tabulate what is measured without labels, beside a random encoder."""
    found = records[label_free_table.KEY]
    random = found.get("random_encoder")
    networks = [found, random] if random else [found]
    rows = [
        [
            words,
            *(_number(r.get(f"{part}_{name}")) for r in networks for part in "hz"),
            f"{DESCRIPTIONS[name]}. Better: {better}.",
        ]
        for name, (words, better) in label_free_table.ROWS.items()
    ]
    return {
        "title": "Without labels",
        "about": f"{found['images']:,} images of {found['split']}, two views each. "
        + ". ".join(text[:1].upper() + text[1:] for text in found["caveats"])
        + ".",
        "heads": [
            "",
            "h",
            "z",
            *(["h, random encoder", "z, random encoder"] if random else []),
            "what it says",
        ],
        "rows": rows,
        "words": True,
    }


def transfer(records: Mapping[str, Records]) -> Table | None:
    """Show the table of other data sets as text."""
    return _text("Other data sets", transfer_table.render(records))


def semi(records: Mapping[str, Records]) -> Table | None:
    """Show the table of few labels as text."""
    return _text("Few labels, fine-tuned", semi_table.render(records))


def _text(title: str, text: str) -> Table | None:
    return {"title": title, "about": "", "text": text} if text else None


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(pair: Any) -> str:
    return "–".join(_percent(x) for x in pair) if pair else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
