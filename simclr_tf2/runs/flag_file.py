"""flags.txt: the settings of a run as a flag file that can start the run again."""

from __future__ import annotations

from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config

# A later start decides these again or reads them from config.json, so the comment shows
# the default, not the value that this start chose.
DECIDED_AT_A_START = frozenset({"pixel_range", "extend"})


def text(asked: Config, config: Config | None = None) -> str:
    """Return the text of flags.txt: ``--flagfile=flags.txt`` starts the run again.

    A setting that was not given is a comment, so that it does not count as given when
    the file is read. The comment shows the value that was chosen for it.

    Args:
        asked: The settings as they were given.
        config: The settings of the run, with the chosen values; None: ``asked``.
    """
    lines = []
    defaults, given = config_lib.field_defaults(), config_lib.given_settings(asked)
    chosen = config_lib.to_flat(config or asked)
    for name, value in config_lib.to_flat(asked).items():
        if value is None:
            continue
        if value != defaults[name] or name in given:
            lines.append(f"--{name}={typed(name, value)}")
            continue
        shown = value if name in DECIDED_AT_A_START else chosen[name]
        lines.append(f"# --{name}={typed(name, shown)}")
    return "\n".join(lines) + "\n"


def typed(name: str, value: Any) -> str | None:
    """Return the value of a setting as it is typed on the command line.

    Returns:
        The text, or None for None.
    """
    if isinstance(value, list | tuple):
        return ("x" if name.endswith("image_size") else ",").join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
