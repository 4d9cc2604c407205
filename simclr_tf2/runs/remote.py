"""Remote folders on the command line: local copies, uploads, refusals.

``folders`` makes the local copies that a command needs, and uploads the run folder at
its end. ``changed`` and ``refresh`` are called in between, for any run folder; they do
nothing for a local one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf

from simclr_tf2 import addresses, places, stopping
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.distribution import training_cluster
from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.runs import remote_files
from simclr_tf2.runs.mirror import Keep, Mirror

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 60.0  # [ours] between two uploads of logs
WAIT_SECONDS = 120.0  # [ours] for an upload, before training goes on beside it
FAILED_SECONDS = 20.0  # [ours] for the upload of a run that failed
# Settings with a path, by what happens to an address.
COPIED = ("model_dir", "checkpoint", "compare_with")
READ = ("data_dir", "image_dir", "manifest", "tfrecords", "dataset", "input")
WRITTEN = ("output", "preview")
LOCAL = ("spool_dir", "neighbours_of")
WRITING_MODES = ("pretrain", "finetune", "eval", "export", "scan")


class _Run:
    """The remote run folder of this process.

    Uploads run in a thread, because TensorFlow repeats a failed request for ten minutes
    (measured, with its defaults), which is too long for training to wait.

    Args:
        mirror: Its local copy.
        uploads: Whether this process uploads; of several workers only the first does.
    """

    def __init__(self, mirror: Mirror, *, uploads: bool) -> None:
        self.mirror, self.uploads = mirror, uploads
        self.uploaded = -math.inf  # time of the end of the last upload, in seconds
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an upload is running."""
        return self._thread is not None and self._thread.is_alive()

    def upload(self, seconds: float) -> bool:
        """Upload what has changed, or wait for an upload that is running.

        Args:
            seconds: Longest time to wait.

        Returns:
            Whether the upload has ended.

        Raises:
            RunFailed: A file could not be uploaded.
        """
        if not self.uploads:
            return True
        if self._thread is not None and not self.is_busy:
            self._collect()  # of an earlier state of the folder
        if self._thread is None:
            self._thread = threading.Thread(target=self._push, daemon=True)
            self._thread.start()
        self._thread.join(seconds)
        if self.is_busy:
            return False
        error = self._collect()
        if error is not None:
            raise error
        return True

    def _collect(self) -> Exception | None:
        """Forget an upload that has ended; return what it failed with."""
        self._thread, self.uploaded = None, time.monotonic()
        error, self._error = self._error, None
        return error

    def upload_all(self) -> None:
        """Upload everything; return when it is done.

        Raises:
            RunFailed: A file could not be uploaded.
        """
        if self.is_busy:
            with contextlib.suppress(RunFailed):  # of an earlier state of the folder
                self._wait()
        self._wait()

    def upload_within(self, seconds: float) -> bool:
        """Upload everything, but wait no longer than ``seconds``.

        Returns:
            Whether everything is uploaded.

        Raises:
            RunFailed: A file could not be uploaded.
        """
        end = time.monotonic() + seconds
        if self.is_busy:
            with contextlib.suppress(RunFailed):  # of an earlier state of the folder
                if not self.upload(seconds):
                    return False
        return self.upload(max(end - time.monotonic(), 0.0))

    def _wait(self) -> None:
        while not self.upload(WAIT_SECONDS):
            logger.warning(
                "still uploading to %s; Ctrl-C twice ends the program without it",
                self.mirror.address,
            )

    def _push(self) -> None:
        try:
            self.mirror.push()
        except Exception as error:
            self._error = error


_RUNS: list[_Run] = []


def _run_of(folder: str | os.PathLike) -> _Run | None:
    path = Path(folder).absolute()
    found = (r for r in _RUNS if path.is_relative_to(r.mirror.folder))
    return next(found, None)


def address_of(folder: str | os.PathLike) -> str | None:
    """Return the address of a run folder that is a local copy; None for any other.

    Args:
        folder: The run folder, a path below it, or its address.
    """
    shown = addresses.shown(folder)
    return shown if addresses.is_remote(shown) else None


def changed(folder: str | os.PathLike, *, at_once: bool = False) -> None:
    """Upload a run folder that has changed, if it is the copy of a remote one.

    If that fails the run goes on: it logs a warning, and the next call tries again.

    Args:
        folder: The run folder, or a path below it.
        at_once: Whether to upload also if the last upload was only seconds ago.
    """
    run = _run_of(folder)
    if run is None:
        return
    if at_once or time.monotonic() - run.uploaded >= UPLOAD_SECONDS:
        was_busy = run.is_busy
        try:
            ended = run.upload(0 if was_busy else WAIT_SECONDS)
        except RunFailed as error:
            logger.warning("%s. The run goes on and tries again later", error)
            return
        if not ended and not was_busy:
            logger.warning(
                "uploading to %s takes longer than %g seconds; the run goes on "
                "meanwhile",
                run.mirror.address,
                WAIT_SECONDS,
            )


def settle(folder: str | os.PathLike) -> None:
    """Upload a run folder and wait until it is done, if it is the copy of a remote one.

    Raises:
        RunFailed: A file could not be uploaded.
    """
    run = _run_of(folder)
    if run is not None:
        run.upload_all()


def refresh(folder: str | os.PathLike) -> None:
    """Upload what has changed here, and download what a training elsewhere has saved.

    A local run folder stays as it is.
    """
    run = _run_of(folder)
    if run is None:
        return
    changed(folder, at_once=True)
    if run.is_busy:
        return
    try:
        if run.mirror.has_new_checkpoint():
            run.mirror.pull()
    except tf.errors.OpError as error:
        logger.warning(
            "%s cannot be read: %s; trying again later",
            run.mirror.address,
            remote_files.why(error),
        )


@contextlib.contextmanager
def folders(config: Config) -> Iterator[None]:
    """Make local copies of the remote folders of a command; upload the run at the end.

    The settings keep the addresses. ``addresses.local`` leads to the copies, and the
    log, standard output and errors show addresses instead of paths in the copies.

    Raises:
        ConfigError: An address cannot be used; nothing is written then.
        RunFailed: The run folder cannot be uploaded at the end.
    """
    check(config)
    if not any(addresses.is_remote(place) for _, place in _places(config, COPIED)):
        yield
        return
    spool = Path(config.spool_dir or places.cache_folder() / "remote").expanduser()
    outer = len(_RUNS)
    with contextlib.ExitStack() as stack:
        for flag, place in _places(config, COPIED):
            if addresses.is_remote(place):
                _open_copy(config, flag, place, spool.absolute(), stack)
        run = _RUNS[-1] if len(_RUNS) > outer else None
        try:
            with _addresses_shown():
                yield
        except BaseException as error:
            _show_addresses(error)
            if run is not None and not isinstance(error, KeyboardInterrupt):
                _upload_after(error, run)
            raise
        if run is not None:
            _upload_at_end(run)


def check(config: Config) -> None:
    """Refuse addresses that cannot be used; writes nothing that stays.

    Raises:
        ConfigError: A misspelt address, an unknown scheme, no answer, no permission.
    """
    asked = [
        (flag, place)
        for kind in (COPIED, READ, WRITTEN, LOCAL)
        for flag, place in _places(config, kind)
    ]
    for flag, place in asked:
        meant = addresses.meant(place)
        if meant:
            raise ConfigError(f"--{flag}={place} is no address; did you mean {meant}?")
        if addresses.is_remote(place):
            _require_usable(flag, place)
    for flag, place in asked:
        if addresses.is_remote(place):
            _require_reachable(flag, place)
            if flag in WRITTEN:
                remote_files.require_writable(flag, place.rpartition("/")[0])
            if flag == "model_dir" and config.workflow in WRITING_MODES:
                remote_files.require_writable(flag, place.rstrip("/"))


def _places(config: Config, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """List (flag, path) of the settings ``names`` that this mode reads."""
    flat, unread = config_lib.to_flat(config), config_lib.unread(config.workflow)
    found = []
    for name in names:
        values = flat[name] if isinstance(flat[name], list | tuple) else [flat[name]]
        if name not in unread:
            found += [(name, str(value)) for value in values if value]
    if names is READ:
        items = (str(item).partition("=") for item in flat["transfer_datasets"] or ())
        found += [("transfer_datasets", place) for _, _, place in items if place]
    return found


def _require_usable(flag: str, place: str) -> None:
    arrays = flag in READ and place.endswith((".npz", ".npy"))
    if flag in LOCAL or arrays:
        raise ConfigError(f"--{flag}={place} must be on this machine; copy it here")
    if addresses.scheme(place) == "file":
        raise ConfigError(
            f"--{flag}={place}: write a local path without file://: "
            f"--{flag}={place.partition('://')[2]}"
        )
    remote_files.require_scheme(flag, place)
    if flag == "data_dir" and addresses.scheme(place) not in remote_files.OBJECT_STORES:
        raise ConfigError(
            f"--data_dir={place}: tensorflow-datasets reads gs:// and s3:// only; "
            "copy the folder to this machine"
        )


def _require_reachable(flag: str, place: str) -> None:
    start = re.split(r"[\[*?{\\]", place)[0]
    folder = place.rstrip("/") if start == place else start.rpartition("/")[0]
    named = "/" in folder.partition("://")[2]  # else the bucket, which not all may list
    remote_files.require_answer(flag, folder, whole=named and start == place)


def _open_copy(
    config: Config, flag: str, place: str, spool: Path, stack: contextlib.ExitStack
) -> None:
    """Download a folder, or the files of a checkpoint, and register the copy."""
    address, keep = _wanted(flag, place)
    run = str(config.model_dir).rstrip("/")  # is copied before the others, and whole
    if flag != "model_dir" and f"{address}/".startswith(f"{run}/"):
        return
    of_run = flag == "model_dir" and config.workflow in WRITING_MODES
    worker = _worker(config) if of_run else 0
    mirror = Mirror(address, spool, worker=worker)
    stack.callback(mirror.close)
    started = time.monotonic()
    try:
        count = mirror.pull(keep)
    except tf.errors.OpError as error:
        raise ConfigError(
            f"--{flag}={place} cannot be read: {remote_files.why(error)}"
        ) from error
    logger.info(
        "%s: local copy in %s, %d files copied in %.0f s",
        address,
        mirror.folder.parent,
        count,
        time.monotonic() - started,
    )
    addresses.register_copy(address, mirror.folder)
    stack.callback(addresses.forget_copy, address)
    if of_run:
        _RUNS.append(_Run(mirror, uploads=worker == 0))
        stack.callback(_RUNS.pop)


def _wanted(flag: str, place: str) -> tuple[str, Keep]:
    """Return the remote folder to copy, and which of its files are needed."""
    place = place.rstrip("/")
    if flag == "model_dir":
        return place, lambda name: True
    if flag == "compare_with":
        return place, lambda name: "/" not in name and not name.startswith("ckpt-")
    base = re.sub(r"\.(index|data-\d+-of-\d+)$", "", place)
    try:
        is_prefix = remote_files.is_there(f"{base}.index")
    except tf.errors.OpError as error:
        raise ConfigError(
            f"--{flag}={place} cannot be read: {remote_files.why(error)}"
        ) from error
    if not is_prefix:
        return place, _is_of_a_network
    folder, _, stem = base.rpartition("/")
    if stem == "variables":  # of a SavedModel, whose folder is called by the step
        outer, _, inner = folder.rpartition("/")
        return outer, lambda name: f"{name}/".startswith(f"{inner}/")
    needed = (f"{stem}.index", f"{stem}.config.json", "config.json")
    return folder, lambda name: name in needed or name.startswith(f"{stem}.data-")


def _is_of_a_network(name: str) -> bool:
    """Return whether ``--checkpoint=FOLDER`` may read a file of that folder."""
    first = name.partition("/")[0]
    return first not in ("tensorboard", "semi", "baselines", "transfer", "hub")


def _worker(config: Config) -> int:
    """Return the number of this worker; 0 is the one that writes the run folder."""
    if config.workflow not in ("pretrain", "finetune"):
        return 0
    try:
        cluster = training_cluster(config.distribution)
    except ConfigError:  # reported when the workers join
        return 0
    return cluster.index if cluster else 0


def _upload_at_end(run: _Run) -> None:
    with stopping.StopRequest() as request:  # a signal waits for the upload
        request.listen()
        run.upload_all()
    if run.uploads:
        logger.info("%s: all files are uploaded", run.mirror.address)


def _upload_after(error: BaseException, run: _Run) -> None:
    """Upload what a run has left that ends with an error or a signal.

    The wait after a RunFailed is short: the network may be what failed, and the error
    is shown after it.
    """
    try:
        with stopping.StopRequest() as request:
            request.listen()
            if not isinstance(error, RunFailed):
                run.upload_all()
            elif not run.upload_within(FAILED_SECONDS):
                logger.warning(
                    "the upload to %s did not end within %g seconds; all files are in "
                    "%s on this machine, and the same command copies them",
                    run.mirror.address,
                    FAILED_SECONDS,
                    run.mirror.folder.parent,
                )
    except RunFailed as failed:
        logger.warning("%s", failed)


@contextlib.contextmanager
def _addresses_shown() -> Iterator[None]:
    """Show addresses instead of paths in local copies, in the log and on stdout."""
    make = logging.getLogRecordFactory()

    def make_shown(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        text = record.getMessage()
        if addresses.with_addresses(text) != text:
            record.msg, record.args = addresses.with_addresses(text), None
        return record

    logging.setLogRecordFactory(make_shown)
    try:
        with contextlib.redirect_stdout(_Shown(sys.stdout)):
            yield
    finally:
        logging.setLogRecordFactory(make)


class _Shown:
    """A text stream that shows addresses instead of paths in local copies."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        return self._stream.write(addresses.with_addresses(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _show_addresses(error: BaseException) -> None:
    """Replace paths in local copies by addresses in an error and what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError):
            if isinstance(current.filename, str):
                current.filename = addresses.with_addresses(current.filename)
        else:
            current.args = tuple(
                addresses.with_addresses(x) if isinstance(x, str) else x
                for x in current.args
            )
        current = current.__cause__ or current.__context__
