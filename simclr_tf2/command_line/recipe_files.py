"""Recipes by name: the flag files that come with the program."""

from __future__ import annotations

import os
from pathlib import Path

from simclr_tf2 import addresses, command_line, suggestions
from simclr_tf2.errors import ConfigError

SUFFIX = ".flags"


def folder() -> Path:
    """Return the folder that the recipes are in."""
    return command_line.HOME / "recipes"


def names() -> list[str]:
    """List the recipes."""
    return sorted(path.stem for path in folder().glob(f"*{SUFFIX}"))


def find(text: str) -> str:
    """Return the file that ``--flagfile=text`` reads.

    A file of that path comes first. Otherwise ``quickstart``, ``quickstart.flags`` and
    ``recipes/quickstart.flags`` are the recipe; other paths are returned as they are.

    Raises:
        ConfigError: A plain name that is neither a file nor a recipe, or an address.
    """
    if addresses.is_remote(text):
        raise ConfigError(
            f"--flagfile={text} must be on this machine; copy it here first"
        )
    path = os.path.expanduser(text)
    parent, base = os.path.split(path)
    name, suffix = os.path.splitext(base)
    if not base or parent not in ("", "recipes") or suffix not in ("", SUFFIX):
        return text
    if os.path.exists(path) and not os.path.isdir(path):
        return text
    recipe = folder() / f"{name}{SUFFIX}"
    if recipe.exists():
        return str(recipe)
    raise ConfigError(_unknown(text, name))


def lines(name: str) -> list[str]:
    """Return the flags of the recipe ``name``, one a line.

    Raises:
        ConfigError: There is no such recipe.
    """
    if name not in names():
        near = suggestions.nearest(name, ("auto", "reference", *names()))
        hint = f"did you mean {near}? The" if near else "the"
        raise ConfigError(
            f"--recipe={name} is neither auto nor reference nor a recipe; {hint} "
            f"recipes: {', '.join(names())}"
        )
    text = (folder() / f"{name}{SUFFIX}").read_text()
    return [x.strip() for x in text.splitlines() if x.strip() and x.strip()[0] != "#"]


def is_recipe(path: str) -> bool:
    """Return whether a path is that of a recipe that comes with the program."""
    return (
        Path(path).suffix == SUFFIX
        and Path(path).resolve().parent == folder().resolve()
    )


def _unknown(text: str, name: str) -> str:
    known = names()
    near = suggestions.nearest(name, known)
    hint = f"did you mean {near}? The" if near else "the"
    return (
        f"--flagfile={text} is neither a file nor a recipe; {hint} "
        f"recipes: {', '.join(known)}"
    )
