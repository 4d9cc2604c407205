"""What a setting says of itself, beside its default: metadata of a dataclass field."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Changes = Literal["weights", "measurement", "speed", "place", "output"]
WEIGHTS: Changes = "weights"  # what is learned
MEASUREMENT: Changes = "measurement"  # what is measured of it
SPEED: Changes = "speed"  # how fast, or in how much memory; not what
PLACE: Changes = "place"  # where data lie, and where the run runs
OUTPUT: Changes = "output"  # what is shown, written and kept


def setting(
    default: Any,
    *,
    changes: Changes,
    modes: frozenset[str],
    protocols: tuple[str, ...] = (),
    ours: bool = False,
) -> Any:
    """Declare a setting: a field of one of the sections of ``Config``.

    Args:
        default: Its value where none is given.
        changes: What another value changes. A run may be started again with another
            value of anything but what changes its weights.
        modes: Modes that read the value on the command line (``config.modes``). A mode
            that takes it from the config of the run does not read it.
        protocols: Protocols that read it also in modes that do not read it themselves.
        ours: Whether the reference code has no such setting, or another default.
    """
    metadata = {
        "changes": changes,
        "modes": modes,
        "protocols": protocols,
        "ours": ours,
    }
    return dataclasses.field(default=default, metadata=metadata)
