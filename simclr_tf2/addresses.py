"""Addresses of remote folders (gs://bucket/run), and the local copies that stand in.

This module imports nothing of the library, so that every other module can use it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# One slash, or none, after these is a slip: no local folder is called "gs:".
_SLIP = re.compile(r"(gs|s3|s3a|hdfs|viewfs|az|abfss?|https?|file|ram):/?(?=[^/])")

_COPIES: dict[str, Path] = {}  # address of a folder -> its local copy


def is_remote(place: str | os.PathLike) -> bool:
    """Return whether ``place`` is an address with a scheme, not a local path."""
    return scheme(place) is not None


def scheme(place: str | os.PathLike) -> str | None:
    """Return the scheme of an address (``gs``), or None for a local path."""
    match = _ADDRESS.match(os.fspath(place))
    return match[1] if match else None


def meant(place: str) -> str | None:
    """Return the address that ``gs:/bucket`` or ``gs:bucket`` stands for, else None."""
    match = _SLIP.match(place)
    return f"{match[1]}://{place[match.end() :]}" if match else None


def folders(text: str) -> tuple[str, ...]:
    """Return the folders that ``a,b`` names.

    A folder whose name contains a comma is one folder. Spaces around names are left
    out.
    """
    if "," not in text or os.path.isdir(text):
        return (text,)
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    return parts or (text,)


def register_copy(address: str, folder: Path) -> None:
    """Let ``local`` return paths in ``folder`` for places at or below ``address``."""
    _COPIES[address.rstrip("/")] = folder


def has_copy(place: str) -> bool:
    """Return whether an address is at or below a folder with a local copy."""
    return any(f"{place}/".startswith(f"{address}/") for address in _COPIES)


def forget_copy(address: str) -> None:
    """Undo ``register_copy``."""
    _COPIES.pop(address.rstrip("/"), None)


def local(place: str | os.PathLike) -> Path:
    """Return the local path of ``place``: for an address, that of its local copy.

    If a folder and a folder within it have copies, the inner one counts.

    Raises:
        ValueError: This process has no local copy of the address.
    """
    text = os.fspath(place)
    if not is_remote(text):
        return Path(text)
    text = text.rstrip("/")
    for address in sorted(_COPIES, key=len, reverse=True):
        if text == address:
            return _COPIES[address]
        if text.startswith(f"{address}/"):
            return _COPIES[address] / text[len(address) + 1 :]
    raise ValueError(
        f"{text} has no local copy; call simclr_tf2.workflows.run, which makes one"
    )


def shown(place: str | os.PathLike) -> str:
    """Return the address of a path in a local copy; other paths as they are."""
    text = os.fspath(place)
    for address, folder in _COPIES.items():
        copy = os.fspath(folder)
        if text == copy or text.startswith(f"{copy}{os.sep}"):
            return address + text[len(copy) :]
    return text


def with_addresses(text: str) -> str:
    """Replace the paths of local copies in a text by the addresses that users gave."""
    for address, folder in _COPIES.items():
        text = text.replace(os.fspath(folder), address)
    return text
