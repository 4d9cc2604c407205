"""What a scan of a data set found: a record for scan.json, and lines to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2 import files
from simclr_tf2.data import pixel_range
from simclr_tf2.data.index_columns import FileIndex
from simclr_tf2.data.layouts import Listing

_LINES = 10  # of a list that may be long, in the terminal
_ALIKE = 3  # broken files named in one line, of those with the same reason


def summarize(
    listing: Listing,
    index: FileIndex,
    split_of: Sequence[str | None] | None = None,
    *,
    seen: pixel_range.Seen | None = None,
    read_as: str = pixel_range.FULL,
) -> dict[str, Any]:
    """Collect everything a scan found, in types that JSON knows.

    Args:
        listing: The files.
        index: What is in them, row by row as in ``listing``.
        split_of: Split of each image if it is not the listing's (made by hash).
        seen: Values of the images of more than 8 bits.
        read_as: The ``--pixel_range`` that was decided for them.
    """
    splits = list(listing.splits if split_of is None else split_of)
    good = index.good
    height, width = (side[good] for side in index.upright_shape())
    summary: dict[str, Any] = {
        "root": listing.root,
        "layout": listing.layout,
        "images": int(good.sum()),
        "bytes": int(index.size[good].sum()),
        "bad": [
            {"path": index.paths[row], "why": str(index.error[row])}
            for row in np.flatnonzero(~good)
        ],
        "bad_fraction": float((~good).mean()) if len(index) else 0.0,
        "splits": _count(splits, good, "(all)"),
        "classes": _classes(listing, splits, good),
        "multi_labels": _multi_labels(listing, good),
        "height": _spread(height),
        "width": _spread(width),
        "formats": _count(list(index.format), good, ""),
        "channels": _count([str(c) for c in index.channels], good, ""),
        "bits": _count([str(b) for b in index.bits], good, ""),
        "pixels": _pixels(seen, read_as),
        "turned_by_exif": int((index.orientation[good] > 1).sum()),
        "duplicates": _duplicates(listing, index, splits),
        "others": dict(listing.others),
        "hidden": listing.hidden,
        "side_folders": dict(listing.side_folders),
        "left_out": listing.left_out,
        "notes": list(listing.notes),
    }
    summary["suggested"] = _suggest(summary, index)
    return summary


def _count(
    values: Sequence[str | None], good: np.ndarray, nothing: str
) -> dict[str, int]:
    found = Counter(
        nothing if value is None else str(value)
        for value, use in zip(values, good, strict=True)
        if use
    )
    return dict(found.most_common())


def _classes(
    listing: Listing, splits: Sequence[str | None], good: np.ndarray
) -> dict[str, dict[str, int]] | None:
    """Count images: class -> split -> images, in label order.

    Classes without a good image are included.
    """
    if listing.labels is None:
        return None
    table: dict[str, Counter[str]] = {name: Counter() for name in listing.class_names()}
    for label, split, use in zip(listing.labels, splits, good, strict=True):
        if use:
            name = "(no label)" if label is None else label
            table.setdefault(name, Counter())[split or "(all)"] += 1
    return {name: dict(counts) for name, counts in table.items()}


def _multi_labels(
    listing: Listing, good: np.ndarray
) -> dict[str, dict[str, int]] | None:
    if listing.multi_labels is None:
        return None
    values = listing.multi_labels[good]
    return {
        name: {
            "1": int((values[:, column] == 1).sum()),
            "0": int((values[:, column] == 0).sum()),
            "unknown": int((values[:, column] == -1).sum()),
        }
        for column, name in enumerate(listing.multi_label_names)
    }


def _spread(values: np.ndarray) -> dict[str, int] | None:
    if not values.size:
        return None
    return {
        "min": int(values.min()),
        "median": int(np.median(values)),
        "max": int(values.max()),
    }


def _duplicates(
    listing: Listing, index: FileIndex, splits: Sequence[str | None]
) -> list[dict[str, Any]]:
    """Group good images with the same contents; those that matter most come first."""
    rows = np.flatnonzero(index.good & (index.size > 0))
    keys = np.ascontiguousarray(index.digest[rows]).view(f"V{index.digest.shape[1]}")
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, key in zip(rows, keys[:, 0], strict=True):
        groups[key.tobytes()].append(int(row))
    labels = listing.labels or (None,) * len(index)
    found = [
        {
            "paths": [index.paths[row] for row in group],
            "across_splits": len({splits[row] for row in group}) > 1,
            "across_classes": len({labels[row] for row in group}) > 1,
        }
        for group in groups.values()
        if len(group) > 1
    ]
    return sorted(
        found,
        key=lambda g: (-g["across_splits"], -g["across_classes"], -len(g["paths"])),
    )


def _pixels(seen: pixel_range.Seen | None, read_as: str) -> dict[str, Any] | None:
    """Describe the values of more than 8 bits, and the range they are read with."""
    if seen is None:
        return None
    return {
        "images": seen.images,
        "min": seen.low,
        "max": seen.high,
        "usual_max": seen.usual,
        "type": str(seen.kind),
        "read_as": read_as,
        "suggested": pixel_range.suggest(seen),
    }


def _suggest(summary: dict[str, Any], index: FileIndex) -> dict[str, str]:
    """Suggest what pretraining does not choose itself, as flag -> value."""
    if not summary["images"]:
        return {}
    flags: dict[str, str] = {}
    channels = index.channels[index.good]
    if (channels <= 2).all():
        flags["--image_channels"] = "1"
    elif (channels > 4).all() and len(set(channels.tolist())) == 1:
        flags["--image_channels"] = str(channels[0])
    if summary["pixels"] and summary["pixels"]["read_as"] != pixel_range.FULL:
        flags["--pixel_range"] = summary["pixels"]["read_as"]
    return flags


def render(summary: dict[str, Any]) -> str:
    """Render the summary as lines of plain text."""
    lines = [
        f"{summary['root']}: {summary['images']} images "
        f"({files.size_text(summary['bytes'])}), layout {summary['layout']}"
    ]
    lines += _table("splits", summary["splits"])
    lines += _class_lines(summary["classes"])
    for name, counts in (summary["multi_labels"] or {}).items():
        lines.append(
            f"label {_plain(name)}: {counts['1']} yes, {counts['0']} no, "
            f"{counts['unknown']} unknown"
        )
    for side in ("height", "width"):
        if summary[side]:
            lines.append(
                "{0}: {min} to {max}, median {median}".format(side, **summary[side])
            )
    for name in ("formats", "channels", "bits"):
        lines += _table(name, summary[name])
    if summary["pixels"]:
        lines.append(
            "pixel values: {min:g} to {max:g} in {images} images of {type}, 99.9 % up "
            "to {usual_max:g}; read with --pixel_range={read_as}".format(
                **summary["pixels"]
            )
        )
    if summary["turned_by_exif"]:
        lines.append(f"turned upright by EXIF: {summary['turned_by_exif']}")
    lines += _duplicate_lines(summary["duplicates"])
    lines += _bad_lines(summary)
    if summary["left_out"]:
        lines.append(f"not read: {_plain(summary['left_out'])}")
    lines += [f"note: {_plain(note)}" for note in summary["notes"]]
    flags = [f"{k}={v}" if v else k for k, v in summary["suggested"].items()]
    if flags:
        lines.append("suggested: " + " ".join(flags))
    return "\n".join(lines)


def _table(name: str, counts: dict[str, int]) -> list[str]:
    parts = [f"{_plain(key)} {count}" for key, count in list(counts.items())[:_LINES]]
    more = [f"and {len(counts) - _LINES} more"] if len(counts) > _LINES else []
    return [f"{name}: " + ", ".join(parts + more)] if counts else []


def _class_lines(classes: dict[str, dict[str, int]] | None) -> list[str]:
    if classes is None:
        return ["labels: none"]
    lines = [f"classes: {len([name for name in classes if name != '(no label)'])}"]
    for name, counts in list(classes.items())[:_LINES]:
        inside = ", ".join(f"{split} {n}" for split, n in counts.items())
        lines.append(f"  {_plain(name)}: {inside or 'no good image'}")
    if len(classes) > _LINES:
        lines.append(f"  and {len(classes) - _LINES} more")
    return lines


def _duplicate_lines(groups: list[dict[str, Any]]) -> list[str]:
    if not groups:
        return []
    across = sum(group["across_splits"] for group in groups)
    lines = [f"groups of duplicates: {len(groups)}, across splits: {across}"]
    for group in groups[:_LINES]:
        marks = " [across splits]" if group["across_splits"] else ""
        marks += " [across classes]" if group["across_classes"] else ""
        paths = ", ".join(_plain(path) for path in group["paths"][:3])
        more = f" and {len(group['paths']) - 3} more" if len(group["paths"]) > 3 else ""
        lines.append(f"  {paths}{more}{marks}")
    return lines


def _bad_lines(summary: dict[str, Any]) -> list[str]:
    bad = summary["bad"]
    if not bad:
        return ["bad files: none"]
    lines = [f"bad files: {len(bad)} ({100 * summary['bad_fraction']:.2f} %)"]
    same: dict[str, list[str]] = defaultdict(list)
    for found in bad:
        same[found["why"]].append(found["path"])
    for why, paths in list(same.items())[:_LINES]:
        named = ", ".join(map(_plain, paths[:_ALIKE]))
        more = f" and {len(paths) - _ALIKE} more" if len(paths) > _ALIKE else ""
        lines.append(f"  {named}{more}: {_plain(why)}")
    if len(same) > _LINES:
        lines.append(f"  and {len(same) - _LINES} other reasons")
    if len(same) > _LINES or any(len(paths) > _ALIKE for paths in same.values()):
        lines.append("  --model_dir=DIR writes all of them to DIR/scan.json")
    return lines


def _plain(text: str) -> str:
    """Write a name on one line, whatever is in it (newlines, bytes not text)."""
    if text.isprintable():
        return text
    return repr(text).encode("ascii", "backslashreplace").decode()
