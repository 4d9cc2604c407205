"""A local copy of a remote run folder: files are copied in both directions.

The program works in the local copy, since its libraries need a file system with rename,
links and appending. The order of the copies is that of the local writes: files of a
checkpoint before its index, the index before the list of checkpoints, results.json
last. So a reader of the remote folder, or a crash in between, finds the newest
checkpoint whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import tensorflow as tf

from simclr_tf2 import files
from simclr_tf2.errors import RunFailed
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import remote_files

logger = logging.getLogger(__name__)

# Stays on this machine: features are computed again where they are missing.
LOCAL_ONLY = (RunFolder(Path("")).features.name,)
# Are uploaded and not downloaded: nothing here reads them, and they may be large.
_EVENTS = re.compile(rf"{RunFolder(Path('')).events.name}(/.*)?|(.*/)?[^/]*tfevents.*")
_CHECKPOINT = re.compile(r"ckpt-\d+\..*")
# What makes the files around it visible to readers, and so comes after them.
_MARKS = re.compile(r".*\.index|saved_model\.pb|entry\.json|best\.json")
_RESULTS = re.compile(r"results(_.*)?\.json")
_STATE = RunFolder(Path("")).checkpoint_state.name
_APPENDED = re.compile(r"evaluations(_.*)?\.jsonl")  # by several processes

Keep = Callable[[str], bool]


class Mirror:
    """The local copy of a remote folder.

    Attributes:
        address: The remote folder, without a slash at the end.
        folder: The local copy. It exists if the remote folder has files, or as soon as
            something is written.

    Args:
        address: The remote folder.
        spool: Folder that keeps the copies of all remote folders. Each process has a
            copy of its own there: a lock keeps two of them apart.
        worker: Number of this worker of the run, from 0. Workers may share ``spool``,
            so that those after the first have copies of their own. They save no
            checkpoints, and keep none that the remote folder lacks.
    """

    def __init__(self, address: str, spool: Path, *, worker: int = 0) -> None:
        self.address, self._worker = address.rstrip("/"), worker
        place, self._lock = _reserved(self.address, spool, worker)
        self.folder = place / _plain(self.address.rpartition("/")[2] or "folder")
        self._record = place / "copied.json"
        self._pulled = False
        self._known: dict[str, dict[str, Any]] = self._read_record()
        # Files that were here in this process: one that is missing later was removed by
        # the run, not by somebody who cleared the copy.
        self._seen: set[str] = set()

    def close(self) -> None:
        """Let another process use the copy."""
        self._lock.close()

    def pull(self, keep: Keep = lambda name: True) -> int:
        """Download files that are new or changed; remove those that are gone there.

        Local changes that are not uploaded yet stay, unless the remote file has
        changed as well. If another machine has trained the run since, checkpoints that
        are only here are removed.

        Args:
            keep: Whether a file or folder of this relative name is looked at.

        Returns:
            Number of files that were downloaded.

        Raises:
            tf.errors.OpError: The remote folder cannot be read.
        """
        there = remote_files.listing(self.address, lambda name: _is_pulled(name, keep))
        if not self._pulled:
            self._drop_other_checkpoints(there)
        self._pulled, count = True, 0
        for name in sorted(there, key=_rank):
            known = self._known.get(name)
            same = known is not None and known["there"] == there[name]
            if not (same and self._path(name).exists()):
                count += self._download(name, there[name])
        for name in [n for n in self._known if _is_pulled(n, keep) and n not in there]:
            if self._is_as_copied(name):
                self._path(name).unlink(missing_ok=True)
            del self._known[name]
            self._seen.discard(name)  # push must not remove what appears there anew
        if self._worker:
            self._drop_checkpoints(there, "the remote folder does not have it")
        self._seen |= {name for name in self._known if self._path(name).exists()}
        self._write_record()
        return count

    def has_new_checkpoint(self) -> bool:
        """Return whether the remote list of checkpoints is another than the copied one.

        Raises:
            tf.errors.OpError: It cannot be read.
        """
        try:
            there = remote_files.repeated(
                lambda: remote_files.stat(f"{self.address}/{_STATE}")
            )
        except tf.errors.NotFoundError:
            return False
        return there != self._known.get(_STATE, {}).get("there")

    def push(self) -> int:
        """Upload new and changed files, then remove the files that are gone here.

        Returns:
            Number of files that were uploaded.

        Raises:
            RunFailed: A file cannot be uploaded. The message says where it is.
        """
        state = _signature(self._path(_STATE))  # before the files that it lists
        here = _local_files(self.folder)
        changed = [name for name in here if not self._is_as_copied(name)]
        name = ""
        try:
            for name in sorted(changed, key=_rank):
                newer = name == _STATE and _signature(self._path(name)) != state
                if not newer:  # than the checkpoints that are uploaded
                    self._upload(name)
            for name in sorted(self._seen - set(here), key=_rank, reverse=True):
                self._remove(name)
        except tf.errors.OpError as error:
            raise RunFailed(
                f"could not copy {name} to {self.address}: {remote_files.why(error)}; "
                f"all files are in {self.folder.parent} on this machine, and the same "
                "command copies them"
            ) from error
        return len(changed)

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _is_as_copied(self, name: str) -> bool:
        """Return whether a local file is as it was after the last copy."""
        known = self._known.get(name)
        return known is not None and known["here"] == _signature(self._path(name))

    def _download(self, name: str, signature: remote_files.Signature) -> int:
        try:
            remote_files.download(f"{self.address}/{name}", self._path(name))
        except tf.errors.NotFoundError:  # removed since the folder was listed
            return 0
        self._note(name, signature)
        return 1

    def _upload(self, name: str) -> None:
        path = self._path(name)
        if _APPENDED.fullmatch(path.name):
            self._add_lines_of_others(name)
        here = _signature(path)
        if here is None:  # removed since the folder was listed
            return
        try:
            there = remote_files.upload(path, f"{self.address}/{name}")
        except (FileNotFoundError, tf.errors.NotFoundError):
            if path.exists():
                raise
            return
        self._note(name, there, here)

    def _remove(self, name: str) -> None:
        remote_files.remove(f"{self.address}/{name}")
        self._known.pop(name, None)
        self._seen.discard(name)
        self._write_record()

    def _add_lines_of_others(self, name: str) -> None:
        """Keep lines that another process has added to the remote file."""
        address, path = f"{self.address}/{name}", self._path(name)
        try:
            there = remote_files.stat(address)
            if there == self._known.get(name, {}).get("there"):
                return
            with tf.io.gfile.GFile(address, "r") as file:
                lines = file.read().splitlines()
        except tf.errors.NotFoundError:
            return
        own = path.read_text(encoding="utf-8").splitlines()
        added = [line for line in own if line not in lines]
        files.write_text(path, "".join(f"{line}\n" for line in (*lines, *added)))

    def _drop_other_checkpoints(self, there: dict[str, Any]) -> None:
        known = self._known.get(_STATE)
        if known is None or known["there"] == there.get(_STATE):
            return
        self._drop_checkpoints(there, "another machine has trained the run since")

    def _drop_checkpoints(self, there: dict[str, Any], reason: str) -> None:
        for path in self.folder.glob("ckpt-*"):
            if _CHECKPOINT.fullmatch(path.name) and path.name not in there:
                path.unlink()
                logger.warning("removed %s: %s", path, reason)

    def _note(
        self,
        name: str,
        there: remote_files.Signature,
        here: list[int] | None = None,
    ) -> None:
        here = here or _signature(self._path(name))
        self._known[name] = {"there": there, "here": here}
        self._seen.add(name)
        self._write_record()

    def _read_record(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self._record.read_text())
            return dict(found["files"]) if found["address"] == self.address else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write_record(self) -> None:
        record = {"address": self.address, "files": self._known}
        files.write_text(self._record, json.dumps(record))


def _is_pulled(name: str, keep: Keep) -> bool:
    return _is_copied(name) and not _EVENTS.fullmatch(name) and keep(name)


def _is_copied(name: str) -> bool:
    """Return whether a file is neither temporary nor for this machine only."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part.endswith("_temp") for part in parts)
    return not hidden and parts[0] not in LOCAL_ONLY


def _rank(name: str) -> tuple[int, str]:
    """Return the place of a file in the order of copies; removals go backwards."""
    base = name.rpartition("/")[2]
    if _RESULTS.fullmatch(base):
        return 3, name
    if base == _STATE:
        return 2, name
    return int(_MARKS.fullmatch(base) is not None), name


def _signature(path: Path) -> list[int] | None:
    """Return what tells whether a local file has changed; None if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _local_files(folder: Path) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        folders[:] = [n for n in folders if _is_copied((inside / n).as_posix())]
        paths = ((inside / name).as_posix() for name in names)
        found += [path for path in paths if _is_copied(path)]
    return found


def _plain(text: str) -> str:
    """Return a text with only characters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".") or "folder"


def _reserved(address: str, spool: Path, worker: int) -> tuple[Path, BinaryIO]:
    """Return the first folder for copies of ``address`` that no process uses, locked.

    A restart on the same machine finds the files of the last start there.

    Raises:
        RunFailed: The folder cannot be made.
    """
    digest = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
    parent = spool / f"{_plain(address)[-60:]}-{digest}"
    try:
        for number in range(1000):
            name = f"worker{worker}-{number}" if worker else str(number)
            place = parent / name
            place.mkdir(parents=True, exist_ok=True)
            file = open(place / "lock", "wb")  # noqa: SIM115 close() closes it
            if _is_locked_now(file):
                return place, file
            file.close()
    except OSError as error:
        raise RunFailed(
            f"no local copy of {address} can be made in {spool}: "
            f"{files.reason(error)}; pass another --spool_dir"
        ) from error
    raise RunFailed(f"1000 processes use {parent}; pass another --spool_dir")


def _is_locked_now(file: BinaryIO) -> bool:
    """Lock a file until it is closed; False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be shared by mistake
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
