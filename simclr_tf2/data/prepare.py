"""Finding a TFDS data set on disk; preparing it only where that was asked for."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import re
import tempfile
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.data import side_files
from simclr_tf2.errors import ConfigError

EMBEDDED = "simclr_shapes"  # drawn on first use: nothing to download
logger = logging.getLogger(__name__)


def prepared_builder(
    name: str, *, data_dir: str, download: bool
) -> tfds.core.DatasetBuilder:
    """Return the builder of ``name``, prepared in ``data_dir``.

    Opens no network connection unless ``download`` is true and the set is unprepared:
    without a network TFDS retries for minutes in silence.

    Args:
        name: TFDS name, with config and version if wanted ("mnist", "d/config:1.0.0").
        data_dir: Folder of prepared sets.
        download: Whether an unprepared set may be downloaded.

    Raises:
        ConfigError: Unknown name, config or version; unprepared; preparing failed.
    """
    data_dir = os.path.expanduser(data_dir)
    with quiet_tfds():  # it warns about every folder that does not exist yet
        builder = _find(name, data_dir)
        if builder.is_prepared():
            return builder
    embedded = _base_name(name) == EMBEDDED
    if not embedded and not download:
        raise ConfigError(
            f"data set {name!r} is not prepared in {data_dir}; add --download to "
            f"fetch it{_manual_step(builder, data_dir)}, or set --data_dir to the "
            "folder that has it"
        )
    _check_writable(data_dir)
    logger.info(
        "%s %s into %s (once)",
        "drawing" if embedded else "downloading and preparing",
        name,
        data_dir,
    )
    return _prepare(builder, name, data_dir, quiet=embedded)


def _find(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ConfigError(_unknown_name(name, data_dir)) from error
    except Exception as error:  # TFDS raises AssertionError and others
        known = _base_name(name) in tfds.list_builders(with_community_datasets=False)
        text = _unknown_variant(name, error) if known else _unknown_name(name, data_dir)
        raise ConfigError(text) from error


def _unknown_name(name: str, data_dir: str) -> str:
    """Say what to pass for a name that no data set has: a path, another spelling."""
    flag = side_files.reading_flag(name)
    if flag:
        kind = "a folder" if os.path.isdir(name) else "a file"
        return f"--dataset={name} is {kind}, not the name of a data set: {flag}"
    known = tfds.list_builders(with_community_datasets=False)
    if os.path.isdir(data_dir):
        known += [e.name for e in os.scandir(data_dir) if e.is_dir()]
    close = _spelled_like(_base_name(name), known)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    looks = "/" in name.strip("/") or "\\" in name
    if not close and looks:
        hint = "; a folder of images is read by --image_dir"
    return f"unknown data set --dataset={name}{hint}"


def _spelled_like(name: str, known: list[str]) -> list[str]:
    """Return names that differ in case and signs only (CIFAR-10), else those near."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    same = [k for k in known if plain(k) == plain(name)]
    return same or difflib.get_close_matches(name.lower(), known, n=3)


def _unknown_variant(name: str, error: Exception) -> str:
    try:
        configs = list(tfds.builder_cls(_base_name(name)).builder_configs)
    except Exception:  # only a hint is lost
        configs = []
    if configs and "/" in name and "config" in str(error).lower():
        wanted = name.split("/")[1].split(":")[0]
        close = difflib.get_close_matches(wanted, configs, n=5) or sorted(configs)[:10]
        return f"unknown config --dataset={name}; there are: {', '.join(close)}"
    return f"--dataset={name} cannot be opened: {one_line(error)}"


def _prepare(
    builder: tfds.core.DatasetBuilder, name: str, data_dir: str, *, quiet: bool
) -> tfds.core.DatasetBuilder:
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _no_progress() if quiet else contextlib.nullcontext():
            builder.download_and_prepare(
                download_dir=os.path.join(data_dir, "downloads"),
                download_config=config,
                file_format="tfrecord",
            )
    except Exception as error:  # network, checksum, disk, parser, ...
        again = _find(name, data_dir)
        if again.is_prepared():  # another worker was faster
            return again
        raise ConfigError(f"preparing {name!r} failed: {one_line(error)}") from error
    return builder


def _check_writable(data_dir: str) -> None:
    if "://" in data_dir:
        return
    try:
        os.makedirs(data_dir, exist_ok=True)
        tempfile.TemporaryFile(dir=data_dir).close()
    except OSError as error:
        raise ConfigError(
            f"--data_dir={data_dir} cannot be written ({error.strerror}); choose a "
            "folder that can"
        ) from error


def _manual_step(builder: tfds.core.DatasetBuilder, data_dir: str) -> str:
    if not getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None):
        return ""
    folder = os.path.join(data_dir, "downloads", "manual")
    return f" (its archives, got by hand, go to {folder})"


def _base_name(name: str) -> str:
    return re.split("[/:]", name)[0]


def one_line(error: BaseException, *, width: int = 200) -> str:
    """Return the part of an error's text that says why, on one line."""
    text = re.sub(r"^Failed to construct .*?}\": ", "", str(error), flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= width else text[: width - 3] + "..."


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silence what TFDS logs below the level of an error."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _no_progress() -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        with quiet_tfds(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def file_sizes(paths: list[str]) -> list[int]:
    """Return the sizes in bytes of local or remote files."""
    return [tf.io.gfile.stat(path).length for path in paths]
