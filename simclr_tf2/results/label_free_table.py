"""Label-free results as a table: h and z, beside those of a random encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "label_free"  # of results.json
# Name in a record -> (words for a person, which direction is better).
ROWS = {
    "std": ("spread", "higher; 0 is collapse"),
    "std_if_even": ("spread, if even", "the best spread"),
    "alignment": ("alignment", "lower, if uniformity does not rise"),
    "uniformity": ("uniformity", "lower"),
    "rankme": ("RankMe", "higher"),
    "rankme_max": ("RankMe, at most", "the best RankMe"),
}
# Those that change in training; the rest are bounds and counts.
MEASURES = ("std", "alignment", "uniformity", "rankme")


def render(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the label-free numbers as aligned plain text.

    Args:
        records: ``KEY`` -> record of the protocol.
    """
    found = records[KEY]
    random = found.get("random_encoder")
    heads = ["h", "z", *(["random h", "random z"] if random else [])]
    lines = [f"{'without labels':15} {_columns(heads)}  better"]
    for name, (words, better) in ROWS.items():
        networks = [found, *([random] if random else [])]
        values = [_number(r.get(f"{part}_{name}")) for r in networks for part in "hz"]
        lines.append(f"{words:15} {_columns(values)}  {better}")
    beside = "; random: the same network without training" if random else ""
    return "\n".join([*lines, f"{found['images']} images of {found['split']}{beside}"])


def scalars(records: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the numbers as ``label_free/h/rankme`` -> value."""
    found = {}
    for name, value in records[KEY].items():
        part, _, measure = name.partition("_")
        if measure in MEASURES and value is not None:
            found[f"{KEY}/{part}/{measure}"] = float(value)
    return found


def _columns(texts: list[str]) -> str:
    return " ".join(f"{text:>10}" for text in texts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
