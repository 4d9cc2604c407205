"""Whole files or none, and the true reason where one could not be written."""

import errno
import os

import pytest
import tensorflow as tf

from simclr_tf2 import endings, files
from simclr_tf2.config import ConfigError
from simclr_tf2.training.errors import NotFinite, RunFailed, Stopped

NODE = "{{function_node __wrapped__SaveV2_device_/job:localhost/replica:0/task:0}} "
FULL = "No space left on device"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (80 * 8 * 8 * 3, "under 0.1 MiB"),
        (80 * 32 * 32 * 3, "0.2 MiB"),
        (9.94 * 2**20, "9.9 MiB"),
        (9.96 * 2**20, "10 MiB"),
        (1500 * 2**20, "1,500 MiB"),
    ],
)
def test_a_size_is_never_nothing(num_bytes, text):
    assert files.size_text(num_bytes) == text


def caused_by(error):
    """An error that was raised because of another, as Keras and h5py do."""
    try:
        try:
            raise error
        except type(error) as cause:
            raise ValueError("the file could not be closed") from cause
    except ValueError as found:
        return found


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL, "/run/encoder.keras"),
        tf.errors.ResourceExhaustedError(None, None, f"{NODE}/run/ckpt; {FULL} [Op:S]"),
        OSError(f"Can't write data (errno = 28, error message = '{FULL}', buf = 0x1)"),
        caused_by(OSError(errno.ENOSPC, FULL)),
    ],
)
def test_the_reason_of_a_full_disk_is_found_whoever_reports_it(error):
    assert files.reason(error) == FULL
    line, code = endings.line_and_code(error)
    assert code == 1 and FULL in line and "\n" not in line and "{" not in line
    assert line.startswith("error: could not write")


def test_another_reason_is_one_short_line_without_names_of_nodes():
    text = f"{NODE}Checksum does not match\nmore\n [Op:RestoreV2]"
    assert files.reason(tf.errors.DataLossError(None, None, text)) == (
        "Checksum does not match"
    )
    assert len(files.reason(ValueError("x" * 999))) == 200
    assert files.reason(ValueError()) == "ValueError"


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=FULL):
        files.write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == [
        "a.json"
    ]


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ConfigError("no\nimages"), "error: no images", 2),
        (RunFailed("disk"), "error: disk", 1),
        (NotFinite("loss"), "error: loss", 3),
        (Stopped("stopped at step 3"), "stopped at step 3", 42),
    ],
)
def test_expected_endings_have_a_line_and_a_code_and_a_stop_is_no_error(
    error, line, code
):
    assert endings.line_and_code(error) == (line, code)


def test_a_defect_keeps_its_traceback():
    assert endings.line_and_code(ValueError("shape")) is None
    assert endings.line_and_code(FileNotFoundError(2, "No such file", "x")) is None
