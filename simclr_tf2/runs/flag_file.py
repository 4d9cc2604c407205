"""flags.txt: the settings of a run as a flag file that can start the run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config

# A later start decides these again or reads them from config.json, so the comment shows
# the default, not the value that this start chose.
DECIDED_AT_A_START = frozenset({"pixel_range", "extend"})


def text(asked: Config, config: Config | None = None) -> str:
    """Return the text of flags.txt: ``--flagfile=flags.txt`` starts the run again.

    A setting that a recipe chose is a flag too, so that the run is the same on another
    device and after images were added. Any other setting that was not given is a
    comment with its value, so that it does not count as given when the file is read.

    Args:
        asked: The settings as they were given.
        config: The settings of the run, with the chosen values; None: ``asked``.
    """
    lines = []
    defaults, given = config_lib.field_defaults(), config_lib.given_settings(asked)
    chosen = config_lib.to_flat(config or asked)
    by_recipe = (config or asked).chosen
    if by_recipe - given:
        recipe = (config or asked).recipe_kind
        names = " ".join(name for name in chosen if name in by_recipe - given)
        lines.append(f"# chosen by --recipe={recipe}: {names}")
    for name, value in config_lib.to_flat(asked).items():
        if name in by_recipe and name not in given:
            if chosen[name] is not None:
                lines.append(f"--{name}={typed(name, chosen[name])}")
            continue
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


def chosen_flags(config: Config, names: frozenset[str] | None = None) -> dict[str, str]:
    """Return what a recipe chose, as flag -> text; "" for a flag without a value.

    What has no effect beside other settings, or happens anyway, is left out.

    Args:
        config: The settings of the run, with the chosen values.
        names: The settings that count; None: all that were chosen.
    """
    flat = config_lib.to_flat(config)
    off = ("valid_size", "num_local_views", "sk_ratio", "se_ratio")
    left_out = {name for name in off if not flat[name]}
    left_out |= {"use_blur"} if flat["use_blur"] else set()
    left_out |= {"train_epochs"} if flat["train_steps"] else set()
    flags = {}
    for name in flat:
        if name not in (config.chosen if names is None else names) - left_out:
            continue
        if isinstance(flat[name], bool):
            flags[f"--{name}" if flat[name] else f"--no{name}"] = ""
        else:
            flags[f"--{name}"] = typed(name, flat[name]) or ""
    return flags


def pasted(flags: Mapping[str, str]) -> str:
    """Join flags to one line of a command."""
    return " ".join(f"{flag}={text}" if text else flag for flag, text in flags.items())
