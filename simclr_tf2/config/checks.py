"""Checks of one value, which raise an error that says what ``--name`` must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simclr_tf2 import suggestions
from simclr_tf2.errors import ConfigError


def require(ok: bool, name: str, must: str, received: Any) -> None:
    """Refuse ``--name`` unless ``ok``."""
    if not ok:
        raise refusal(name, must, received)


def refusal(
    name: str, must: str, received: Any, *, meant: str | None = None
) -> ConfigError:
    """Return an error with the accepted and the given value, and what is meant."""
    hint = f"; did you mean {meant}?" if meant else "."
    return ConfigError(
        f"--{name} must be {must}. Received: {_as_typed(received)}{hint}"
    )


def _as_typed(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if value is None or value == "" or value == ():
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_as_typed, value))
    return str(value)


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse ``--name`` unless its value is one of ``choices``."""
    if value not in choices:
        meant = suggestions.nearest(str(value), choices)
        raise refusal(name, f"one of {', '.join(choices)}", value, meant=meant)


def require_positive(section: Any, *names: str) -> None:
    """Refuse the settings ``names`` of a section unless they are above 0."""
    for name in names:
        value = getattr(section, name)
        require(value > 0, name, "greater than 0", value)


def require_not_negative(section: Any, *names: str) -> None:
    """Refuse the settings ``names`` of a section if one is below 0."""
    for name in names:
        value = getattr(section, name)
        require(value >= 0, name, "0 or greater", value)


def require_fraction(section: Any, *names: str) -> None:
    """Refuse the settings ``names`` of a section unless they are from 0 to 1."""
    for name in names:
        value = getattr(section, name)
        require(0 <= value <= 1, name, "from 0 to 1", value)


def numbers(name: str, values: Any, must: str) -> tuple[float, ...]:
    """Read finite numbers, also from texts.

    Args:
        name: Of the setting.
        values: A sequence of numbers or texts.
        must: What the setting must be, for the error.

    Raises:
        ConfigError: A value is not a finite number.
    """
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise refusal(name, must, values) from None
    require(all(map(math.isfinite, found)), name, must, values)
    return found


def auto_or_count(name: str, value: Any) -> str | int:
    """Read ``auto`` or a number of at least 1."""
    text = str(value)
    ok = text == "auto" or (text.isdigit() and int(text) > 0)
    require(ok, name, "auto or a number of at least 1", value)
    return int(text) if text.isdigit() else text


def parse_image_size(value: Any, flag: str = "image_size") -> int | tuple[int, int]:
    """Read ``224``, ``"224"`` or ``"HxW"`` (also as a pair) as side or (height, width).

    Raises:
        ConfigError: ``value`` is none of these.
    """
    parts = str(value).lower().split("x") if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    try:
        sides = [int(part) for part in parts]
    except (TypeError, ValueError):
        sides = []
    require(
        len(sides) in (1, 2) and all(side > 0 for side in sides),
        flag,
        "a number, or HEIGHTxWIDTH (64x96)",
        value,
    )
    return sides[0] if len(set(sides)) == 1 else (sides[0], sides[1])


def is_address(value: Any) -> bool:
    """Return whether ``value`` is host:port."""
    host, _, port = str(value).rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536
