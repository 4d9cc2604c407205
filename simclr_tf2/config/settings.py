"""The metadata of a setting: what a change of it means, and which modes read it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Changes = Literal["weights", "measurement", "speed", "place", "output"]
WEIGHTS: Changes = "weights"  # what is learned
MEASUREMENT: Changes = "measurement"  # what is measured of the learned network
SPEED: Changes = "speed"  # only time and memory, no result
PLACE: Changes = "place"  # where the data are, and which devices are used
OUTPUT: Changes = "output"  # what is shown and written


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
        default: Value if none is given.
        changes: What another value changes. A run may be started again with another
            value of any setting except those with ``WEIGHTS``.
        modes: Modes that read the value from the command line (``config.modes``). A
            mode that takes it from the config of the run does not count.
        protocols: Protocols that read the value, also in modes that are not in
            ``modes``.
        ours: Whether the reference code has no such setting, or another default.
    """
    metadata = {
        "changes": changes,
        "modes": modes,
        "protocols": protocols,
        "ours": ours,
    }
    return dataclasses.field(default=default, metadata=metadata)
