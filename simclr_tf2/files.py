"""Whole files or none, sizes, paths that TensorFlow reads, why a write failed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simclr_tf2 import suggestions

# TensorFlow looks checkpoints up with fnmatch(3): "[b]" would be b, "\\[" would be [.
_PATTERN = re.compile(r"[\[\]*?\\]")
# What the system says where a disk or a permission is the reason.
_CODES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
)
_REASONS = {os.strerror(code): code for code in _CODES}


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a whole file or nothing: yield the path of a temporary file beside it.

    Where the block ends well, that file is renamed to ``path``; else it is removed, and
    what was at ``path`` stays. It ends in the suffix of ``path``, by which libraries
    choose the format.

    Raises:
        OSError: As ``writing`` says it, with ``path``.
    """
    path = Path(path)
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"  # of several machines as well
    temporary = path.with_name(f".{path.stem}.{mark}.tmp{path.suffix}")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, os.fspath(temporary)):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text, the whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, the whole file or nothing."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def size_text(num_bytes: float) -> str:
    """Return a size as people read it: "under 0.1 MiB", "0.2 MiB", "37 MiB"."""
    size = num_bytes / 2**20
    if size < 0.1:
        return "under 0.1 MiB"
    return f"{size:.1f} MiB" if size < 9.95 else f"{size:,.0f} MiB"


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Name ``path`` in errors of a system that refuses what the block writes for it.

    Libraries in C (TensorFlow, HDF5, Arrow) name no file, or the temporary one.

    Raises:
        OSError: With the reason of the system and ``path``; other errors stay.
    """
    try:
        yield
    except Exception as error:
        reason = system_reason(error)
        if reason is None:
            raise
        raise OSError(_REASONS[reason], reason, os.fspath(path)) from error


def missing(path: str | os.PathLike) -> str:
    """Say that there is nothing at ``path``, and what is near: the end of a sentence.

    Returns:
        Empty where something is there.
    """
    place = whole = Path(path)
    if whole.exists() or "://" in os.fspath(path):
        return ""
    while not place.parent.exists():
        place = place.parent
    what = "such folder" if place == whole else f"folder {place}"
    near = suggestions.alike(place.name, _names_in(place.parent))
    hint = f"; did you mean {place.with_name(near)}?" if near else "; check the path"
    return f"there is no {what}{hint}"


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def has_pattern(path: str | os.PathLike) -> bool:
    r"""Return whether TensorFlow reads ``path`` as a pattern: any of ``[ ] * ? \``."""
    return _PATTERN.search(os.path.abspath(path)) is not None


def can_link() -> bool:
    """Return whether this system makes symbolic links, in a place without patterns."""
    try:
        with _links() as folder:
            os.symlink(folder, os.path.join(folder, "link"))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def plain_prefix(prefix: str | os.PathLike) -> Iterator[str]:
    """Yield a checkpoint prefix that TensorFlow finds, for reading within the block.

    ``prefix`` itself where it is plain; else one of symbolic links to its files.

    Raises:
        OSError: The system makes no links.
    """
    if not has_pattern(prefix):
        yield os.fspath(prefix)
        return
    source = Path(os.path.abspath(prefix))
    with _links() as folder:
        for path in source.parent.iterdir():
            if path.name.startswith(f"{source.name}."):
                suffix = path.name.removeprefix(source.name)
                os.symlink(path, os.path.join(folder, f"checkpoint{suffix}"))
        yield os.path.join(folder, "checkpoint")


@contextlib.contextmanager
def _links() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="simclr_tf2_") as folder:
        if has_pattern(folder):
            raise OSError(
                f"the folder of temporary files, {folder}, is read as a pattern"
            )
        yield folder


def system_reason(error: BaseException) -> str | None:
    """Say why the system refused a file ("No space left on device").

    Looks through an error and what caused it, of Python, HDF5 or TensorFlow.

    Returns:
        None where no reason of a disk or a permission is named.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _CODES:
            return os.strerror(current.errno)
        for reason in _REASONS:
            if reason in str(current):
                return reason
        current = current.__cause__ or current.__context__
    return None


def failed_path(error: BaseException) -> str | None:
    """Return the file that an error or its cause is about, where one says so."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.filename is not None:
            return os.fsdecode(current.filename)
        current = current.__cause__ or current.__context__
    return None


def reason(error: BaseException, *, width: int = 200) -> str:
    """Say in one line why something failed, without TensorFlow's names of nodes.

    Args:
        error: Of a file that was read or written.
        width: Characters at most, unless the system names the reason.
    """
    known = system_reason(error)
    if known:
        return known
    text = re.sub(r"\{\{[^}]*\}\}\s*|\s*\[Op:\w+\]", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= width else text[: width - 3] + "..."
