"""Find the files of a manifest that was written on another machine.

A path that leads nowhere is tried without the spaces around it, with / for backslashes,
without the folders in front that only the other machine had, in another Unicode form
and in another case. A change is made only where it leads to one file, and is told.
"""

from __future__ import annotations

import difflib
import functools
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

_SPACES = "without the spaces around them"
_SLASHES = "with / for backslashes"
_UNICODE = "in the Unicode form of the file names"
_CASE = "in the case of the file names"


@dataclass(frozen=True)
class Found:
    """Paths of the files of a manifest, as they were found.

    Attributes:
        paths: One a name, '/'-separated; as given where nothing was found.
        notes: What was changed, one line each.
        missing: What is known of those not found, one line; "" if all were.
    """

    paths: list[str]
    notes: list[str] = field(default_factory=list)
    missing: str = ""


def find(root: str, names: Sequence[str]) -> Found:
    """Find the file of each name below ``root``.

    Args:
        root: Folder of relative names; files at an address (gs://) are not looked for.
        names: As the manifest has them.
    """
    plain = [n if "://" in n else posixpath.normpath(n) for n in names]
    if "://" in root:
        return Found(plain)
    search = _Search(root)
    found = [search.find(n, p) for n, p in zip(names, plain, strict=True)]
    targets = Counter(change[0] for change in found if change)
    paths: list[str] = []
    missing: list[str] = []
    changes: Counter[tuple[str, ...]] = Counter()
    for name, path, change in zip(names, plain, found, strict=True):
        # Two names of one file: neither change is safe.
        if change and (not change[1] or targets[change[0]] == 1):
            paths.append(change[0])
            changes[change[1]] += bool(change[1])
        else:
            paths.append(path)
            missing += [] if "://" in name else [path]
    notes = [
        f"{count} of {len(names)} paths were found {' and '.join(how)}"
        for how, count in changes.items()
        if how
    ]
    why = search.why(missing, len(names)) if missing else ""
    if 0 < len(missing) < len(names):  # where all are, it becomes an error
        notes.append(why)
    return Found(paths, notes, why)


class _Search:
    """Search for files that looks into each folder once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._prefix: str | None = None  # that only the other machine had
        self._names = functools.lru_cache(maxsize=None)(_names_in)
        self._alike = functools.lru_cache(maxsize=None)(self._by_form)

    def find(self, name: str, plain: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the path that leads to a file and what was changed, or None."""
        if "://" in name or self._is_there(plain):
            return plain, ()
        text = name
        how: list[str] = []
        for change, do in _CHANGES.items():
            if do(text) != text:
                text, how = do(text), [*how, change]
        for candidate, more in self._candidates(posixpath.normpath(text)):
            match = self._match(candidate)
            if match is not None:
                return match[0], (*how, *more, *match[1])
        return None

    def _candidates(self, text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the path, then the path without folders in front, the longest first.

        Only folders that are not on this machine are dropped, and the same for all:
        a file that is missing from a folder is not replaced by one of its name.
        """
        yield text, ()
        parts = text.split("/")
        if parts[0] and parts[0] in self._names(self._root):
            return
        for count in range(1, len(parts)):
            prefix = "/".join(parts[:count])
            here = bool(prefix) and os.path.isdir(os.path.join(self._root, prefix))
            if not here and self._prefix in (None, prefix):
                rest = "/".join(parts[count:])
                if self._match(rest) is not None:
                    self._prefix = prefix
                    yield rest, (f"without {prefix}/ in front",)
                    return

    def _is_there(self, path: str) -> bool:
        folder, name = os.path.split(os.path.join(self._root, path))
        return name in self._names(folder)

    def _by_form(self, folder: str) -> dict[str, list[str]]:
        """Map keys that do not depend on the Unicode form, or on case, to names."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self._names(folder):
            for key in _forms(name):
                found[key].append(name)
        return found

    def _match(self, path: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the path with the names that the folders have, and what differs."""
        folder, parts, how = self._root, [], set()
        if path.startswith("/"):
            folder, path, parts = "/", path[1:], [""]
        for part in path.split("/"):
            if part == ".." or part in self._names(folder):
                actual = part
            else:
                names = self._alike(folder)
                keys = zip(_forms(part), (_UNICODE, _CASE), strict=True)
                same = [(names[key], why) for key, why in keys if key in names]
                if not same or len(same[0][0]) != 1:
                    return None
                (actual,), why = same[0]
                how.add(why)
            parts.append(actual)
            folder = os.path.join(folder, actual)
        return "/".join(parts), tuple(sorted(how))

    def why(self, missing: Sequence[str], total: int) -> str:
        """Say which paths lead nowhere, what was tried and what is near."""
        first = missing[0]
        text = _to_slashes(first).strip()
        folder = "/" if text.startswith("/") else self._root
        parts = text.strip("/").split("/")
        while parts[1:] and parts[0] in self._names(folder):
            folder = posixpath.join(folder, parts.pop(0))
        near = difflib.get_close_matches(parts[0], self._names(folder), n=1)
        what = f"{_shown(first)} ({folder} has no {_shown(parts[0])}"
        tried = [how for how, change in _CHANGES.items() if change(first) != first]
        if folder in (self._root, "/") and parts[1:]:
            tried.append("without the folders in front")
        also = f"; looked for {' and '.join(tried)}, too" if tried else ""
        return (
            f"{len(missing)} of {total} paths lead to no file, the first: {what}"
            f"{f'; near: {_shown(near[0])}' if near else ''}){also}. Paths start from "
            f"{self._root}, which --image_dir=FOLDER changes"
        )


def _shown(name: str) -> str:
    """Show a name in quotes on one line."""
    return f"'{name}'" if name.isprintable() else repr(name)


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _forms(name: str) -> tuple[str, str]:
    """Return keys that do not depend on the Unicode form, and neither on case."""
    composed = unicodedata.normalize("NFC", name)
    return f"\0{composed}", f"\1{composed.casefold()}"


def _to_slashes(text: str) -> str:
    return text.replace("\\", "/")


_CHANGES: dict[str, Callable[[str], str]] = {
    _SPACES: str.strip,
    _SLASHES: _to_slashes,
}
