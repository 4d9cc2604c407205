"""Settings, times and files of a run as rows and text, ready for the template."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf2 import places

Config = Mapping[str, Mapping[str, Any]]
_MISSING = object()


def setting(config: Config | None, name: str) -> Any:
    """Return the value of ``name`` in whichever section has it, or None."""
    return next((part[name] for part in (config or {}).values() if name in part), None)


def duration(seconds: float) -> str:
    """Write a duration: ``3725`` -> ``1 h 2 min``; ``0.234`` -> ``0.23 s``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if seconds < 600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def value_text(value: Any) -> str:
    """Write a setting as a person does: lists with commas, no quotes, no 1e-06."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(value_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if str(value) else '""'


def _same(value: Any, default: Any) -> bool:
    """Return whether values are equal; a list counts as its tuple before JSON."""
    if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
        return list(value) == list(default)
    return bool(value == default)


def config_tables(config: Config | None, defaults: Config | None) -> list[dict]:
    """List the settings of each section: name, value, default, whether they differ."""
    tables = []
    for section, settings in (config or {}).items():
        known = (defaults or {}).get(section, {})
        rows = []
        for name, value in settings.items():
            default = known.get(name, _MISSING)
            changed = default is not _MISSING and not _same(value, default)
            rows.append(
                {
                    "name": name,
                    "value": value_text(value),
                    "changed": changed,
                    "default": value_text(default) if changed else "",
                }
            )
        if rows:
            tables.append({"name": section, "rows": rows})
    return tables


def command(config: Config | None, defaults: Config | None) -> str:
    """Return the command line that sets what differs from the defaults."""
    words = []
    for section, settings in (config or {}).items():
        known = (defaults or {}).get(section, {})
        for name, value in settings.items():
            if value is None or name not in known or _same(value, known[name]):
                continue
            if isinstance(value, (list, tuple)):
                text = ",".join(map(value_text, value))
            else:
                text = "" if value == "" else value_text(value)
                text = repr(value) if isinstance(value, float) else text
            words.append(shlex.quote(f"--{name}={text}"))
    return " \\\n  ".join([places.program(), *words]) if words else ""


def timing_rows(timings: Mapping[str, float] | None) -> list[tuple[str, str, float]]:
    """Return (phase, duration, share of the longest in %) of each phase."""
    longest = max([v for v in (timings or {}).values() if v > 0], default=1.0)
    return [
        (name, duration(seconds), 100 * max(seconds, 0) / longest)
        for name, seconds in (timings or {}).items()
    ]


_KERAS = """import keras

encoder = keras.models.load_model({path})
h = encoder.predict(images)  # images: float32 [n, {shape}] in [0, 1]"""
_SAVED_MODEL = """import tensorflow as tf

module = tf.saved_model.load({path})
outputs = module(images, trainable=False)  # float32 [n, {shape}] in [0, 1]
h = outputs["final_avg_pool"]"""


def loading_snippets(
    files: Sequence[tuple[Any, str]], config: Config | None
) -> list[tuple[str, str]]:
    """Return (heading, code) that loads what was written: Keras file, SavedModel."""
    size = setting(config, "image_size") or "s"
    sides = size if isinstance(size, tuple | list) else (size, size)
    shape = ", ".join(map(str, [*sides, setting(config, "image_channels") or 3]))
    found: dict[str, str] = {}
    for path, _ in files:
        text = os.fspath(path)
        quoted = json.dumps(text, ensure_ascii=False)
        if text.endswith(".keras"):
            code = _KERAS.format(path=quoted, shape=shape)
            found.setdefault("Keras, no code of this package needed", code)
        elif "saved_model" in text:
            code = _SAVED_MODEL.format(path=quoted, shape=shape)
            found.setdefault("SavedModel, all endpoints of the network", code)
    return list(found.items())
