"""Operations of ``tf.io.gfile`` on remote files, repeated after transient errors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import tensorflow as tf

from simclr_tf2 import addresses, files
from simclr_tf2.errors import ConfigError, RunFailed

T = TypeVar("T")
Signature = list[int | str]  # size in bytes, and time of change or digest

WAITS = (1.0, 4.0, 10.0)  # [ours] seconds before another try
PATIENCE = 120.0  # [ours] seconds after which a failed operation is not repeated
ANSWER_SECONDS = 60.0  # [ours] for the first answer of a server
# Object stores have no folders: a file can be written at once, and making a "folder"
# would ask for the bucket, which needs a permission that writing files does not.
OBJECT_STORES = ("gs", "s3")
TRANSIENT = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


def is_transient(error: BaseException) -> bool:
    """Return whether an operation that failed may succeed a little later."""
    if files.system_reason(error) is not None:  # of the local disk
        return False
    # TensorFlow reports a lost network as a failed precondition.
    lost = isinstance(error, tf.errors.FailedPreconditionError)
    return isinstance(error, TRANSIENT) or (lost and "libcurl" in str(error))


def repeated(
    operation: Callable[[], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call an operation again after a transient error, with growing pauses.

    Raises:
        tf.errors.OpError: An error that is not transient, or that came again after the
            last pause or after ``PATIENCE`` seconds.
    """
    started = clock()
    for wait in WAITS:
        try:
            return operation()
        except tf.errors.OpError as error:
            if not is_transient(error) or clock() - started > PATIENCE:
                raise
        sleep(wait)
    return operation()


def why(error: BaseException) -> str:
    """Return the reason of a failed operation, in one line."""
    text = " ".join(str(error).split())
    details = re.search(r"error details: (.+?)( when |$)", text)
    if details:
        return details[1]
    code = re.search(r"HTTP response code (\d+)", text)
    known = {"401": "not signed in", "403": "permission denied", "404": "no bucket"}
    if code:
        return f"{known.get(code[1], 'the server failed')} (HTTP {code[1]})"
    if isinstance(error, tf.errors.PermissionDeniedError):
        return "permission denied"
    return files.reason(error)


def require_scheme(flag: str, address: str) -> None:
    """Refuse an address that TensorFlow in this process cannot read; opens nothing.

    Raises:
        ConfigError: The scheme is not available. The message names what provides it.
    """
    name = addresses.scheme(address)
    if name in tf.io.gfile.get_registered_schemes():
        return
    with contextlib.suppress(Exception):  # built for another TensorFlow, say
        if importlib.util.find_spec("tensorflow_io"):
            importlib.import_module("tensorflow_io")
    known = tf.io.gfile.get_registered_schemes()
    if name in known:
        return
    remedy = "copy the files to this machine"
    if name in ("s3", "az", "hdfs", "viewfs", "http", "https"):
        remedy = f"pip install tensorflow-io (for this TensorFlow), or {remedy}"
    readable = ", ".join(f"{k}://" for k in sorted(known) if k not in ("", "file"))
    raise ConfigError(
        f"--{flag}={address}: TensorFlow has no file system for {name}:// here, only "
        f"{readable}; {remedy}"
    )


def require_answer(
    flag: str, address: str, *, seconds: float | None = None, whole: bool = True
) -> None:
    """Ask for an address once, so that a server that is not there is known at once.

    TensorFlow repeats failed requests for minutes, so the question is asked in a thread
    that is left behind after ``seconds``.

    Args:
        flag: The flag that gave the address.
        address: A file or folder, which need not exist.
        seconds: Time for the answer; None: ``ANSWER_SECONDS``.
        whole: Whether the permission to read this address is needed; if False, only
            an answer is.

    Raises:
        ConfigError: No answer, or no permission.
    """
    limit = ANSWER_SECONDS if seconds is None else seconds
    failures: list[Exception] = []

    def ask() -> None:
        try:
            tf.io.gfile.stat(address)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise ConfigError(
            f"--{flag}={address}: no answer within {limit:g} seconds; check the network"
        )
    if not failures or isinstance(failures[0], tf.errors.NotFoundError):
        return
    if whole or is_transient(failures[0]):
        raise ConfigError(
            f"--{flag}={address} cannot be read: {why(failures[0])}; check the network "
            "and the permissions"
        ) from failures[0]


def require_writable(flag: str, folder: str) -> None:
    """Write an empty file into a folder and remove it.

    Raises:
        ConfigError: It cannot be written: no such bucket, or no permission.
    """
    probe = f"{folder}/.write_check-{os.getpid()}-{time.time_ns():x}"
    try:
        with tempfile.NamedTemporaryFile() as file:
            upload(Path(file.name), probe)
        remove(probe)
    except tf.errors.OpError as error:
        raise ConfigError(
            f"--{flag}={folder} cannot be written: {why(error)}; check the name of the "
            "bucket and the permissions"
        ) from error


@functools.cache
def _make_folder(folder: str) -> None:
    """Make a remote folder once, where the file system has folders."""
    if addresses.scheme(folder) not in OBJECT_STORES:
        tf.io.gfile.makedirs(folder)


def is_there(address: str) -> bool:
    """Return whether there is a remote file or folder."""
    return repeated(lambda: bool(tf.io.gfile.exists(address)))


def listing(
    folder: str, keep: Callable[[str], bool] = lambda name: True
) -> dict[str, Signature]:
    """Return the signatures of all files below a remote folder, by relative name.

    Args:
        folder: Its address; a folder that is not there has no files.
        keep: Whether a file or folder of this relative name is looked at.
    """
    found: dict[str, Signature] = {}
    open_folders = [""]
    while open_folders:
        inside = open_folders.pop()
        for name in repeated(functools.partial(_names, f"{folder}/{inside}")):
            path = f"{inside}{name.rstrip('/')}"
            if not keep(path):
                continue
            if name.endswith("/"):
                open_folders.append(f"{path}/")
                continue
            with contextlib.suppress(tf.errors.NotFoundError):  # gone meanwhile
                signature = repeated(functools.partial(stat, f"{folder}/{path}"))
                if signature is None:
                    open_folders.append(f"{path}/")
                else:
                    found[path] = signature
    return found


def _names(folder: str) -> list[str]:
    """List a remote folder; a folder that is not there is empty."""
    try:
        return [name for name in tf.io.gfile.listdir(folder) if name.strip("/")]
    except tf.errors.NotFoundError:
        pass
    try:  # listdir reports a lost network as a missing folder
        tf.io.gfile.stat(folder.rstrip("/"))
    except tf.errors.NotFoundError:
        return []
    raise tf.errors.UnavailableError(None, None, f"{folder} could not be listed")


def stat(address: str) -> Signature | None:
    """Return what tells whether a remote file has changed; None for a folder."""
    facts = tf.io.gfile.stat(address)
    if facts.is_directory:
        return None
    if facts.mtime_nsec:
        return [facts.length, facts.mtime_nsec]
    with tf.io.gfile.GFile(address, "rb") as file:  # ram:// keeps no times
        return [facts.length, hashlib.blake2b(file.read(), digest_size=8).hexdigest()]


def download(address: str, path: Path) -> None:
    """Copy a remote file to a local path, the whole file or nothing.

    Raises:
        tf.errors.OpError: The remote file cannot be read.
        OSError: The local file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        repeated(lambda: tf.io.gfile.copy(address, str(temporary), overwrite=True))


def upload(path: Path, address: str) -> Signature:
    """Copy a local file to a remote address and return the signature of the copy.

    Raises:
        tf.errors.OpError: It cannot be written, or has another size than the file.
    """

    def copy() -> Signature:
        size = path.stat().st_size
        _make_folder(address.rpartition("/")[0])
        if addresses.scheme(address) == "ram":  # appends to a file that is there
            remove(address)
        tf.io.gfile.copy(str(path), address, overwrite=True)
        signature = stat(address)
        grown = path.stat().st_size != size  # a log: it is copied again next time
        if signature is None or (signature[0] != size and not grown):
            raise tf.errors.UnavailableError(None, None, f"{address} is incomplete")
        return signature

    return repeated(copy)


def remove(address: str) -> None:
    """Remove a remote file, which may be gone already."""
    with contextlib.suppress(tf.errors.NotFoundError):
        repeated(lambda: tf.io.gfile.remove(address))


@contextlib.contextmanager
def written(place: str) -> Iterator[str]:
    """Yield a local path for a file that is copied to ``place`` when the block ends.

    A local ``place`` is yielded as it is.

    Raises:
        RunFailed: The copy cannot be written.
    """
    if not addresses.is_remote(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="simclr_tf2_") as folder:
        path = Path(folder) / place.rpartition("/")[2]
        yield str(path)
        try:
            upload(path, place)
        except tf.errors.OpError as error:
            raise RunFailed(f"{place} cannot be written: {why(error)}") from error
