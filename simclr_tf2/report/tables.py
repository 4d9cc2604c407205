"""What was measured, as tables of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.network_protocols import LABEL_FREE_ROWS
from simclr_tf2.evaluation.transfer import protocol as transfer
from simclr_tf2.results.rows import DEPTHS
from simclr_tf2.results.semi_table import render_semi
from simclr_tf2.results.table import capped_notes

Records = Mapping[str, Mapping[str, Any]]
Table = dict[str, Any]

KEYS = {"knn": "knn10"}
SAID = {
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
        if record["protocol"] != DEPTHS:
            row = rows.setdefault(record["row"], {"row": record["row"]})
            protocol = KEYS.get(record["protocol"], record["protocol"])
            key = f"{protocol}_{record['measure']}"
            row |= {key: record["value"], f"{key}_ci95": record.get("ci95")}
    return list(rows.values())


def tables(measured: Measured, comparison: str = "") -> list[Table]:
    """List all that the main table has no room for, in the order of the protocols.

    Args:
        measured: What was found.
        comparison: With another run, as text.
    """
    found = [
        _by_k(measured.results),
        _svm(measured.results),
        _few_labels(measured.results),
        _depths(measured.results),
        _label_free(measured.others.get("label_free")),
        _text("Other data sets", transfer.render(measured.others)),
        _text(
            "Few labels, fine-tuned",
            render_semi(measured.others["semi"]) if "semi" in measured.others else "",
        ),
        _text(
            "Learned from a part of the images",
            "\n".join(capped_notes(list(measured.results.values()))),
        ),
        _text("Beside another run", comparison),
    ]
    return [table for table in found if table]


def _of(results: Records, protocol: str) -> list[Mapping[str, Any]]:
    return [r for r in results.values() if r["protocol"] == protocol]


def _by_k(results: Records) -> Table | None:
    """Tabulate top-1 and top-5 of each number of neighbours."""
    records = _of(results, "weighted_knn")
    if not records:
        return None
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


def _svm(results: Records) -> Table | None:
    """Tabulate what the SVMs read, and their mean average precision."""
    records = _of(results, "svm")
    if not records:
        return None
    rows = [[r["row"], f"{r['feature_dim']:,}", _percent(r["map"])] for r in records]
    return {
        "title": "A linear SVM for each class",
        "about": _features_read(records[0]),
        "heads": ["", "dimensions", "mAP %"],
        "rows": rows,
    }


def _few_labels(results: Records) -> Table | None:
    """Tabulate mean and deviation over draws of k labelled images of each class."""
    records = _of(results, "low_shot")
    if not records:
        return None
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


def _depths(results: Records) -> Table | None:
    records = _of(results, DEPTHS)
    if not records:
        return None
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


def _label_free(found: Mapping[str, Any] | None) -> Table | None:
    if not found:
        return None
    random = found.get("random_encoder")
    records = [found, random] if random else [found]
    rows = [
        [
            words,
            *(_number(r.get(f"{part}_{name}")) for r in records for part in "hz"),
            f"{SAID[name]}. Better: {better}.",
        ]
        for name, (words, better) in LABEL_FREE_ROWS.items()
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


def _text(title: str, text: str) -> Table | None:
    return {"title": title, "about": "", "text": text} if text else None


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(pair: Any) -> str:
    return "–".join(_percent(x) for x in pair) if pair else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
