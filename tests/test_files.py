"""Whole files or none, and the true reason where one could not be written."""

import errno
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import endings, evaluation, files, models, report, saved_model
from simclr_tf2.config import ModelConfig
from simclr_tf2.data import label_subset
from simclr_tf2.errors import ConfigError, NotFinite, RunFailed, Stopped
from simclr_tf2.evaluation.transfer import grid as transfer_grid
from simclr_tf2.exports import embeddings_file as embed
from simclr_tf2.results import curve, label_free_comparison, predictions
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import logs

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


def test_the_temporary_file_has_the_suffix_and_nobody_else_writes_it(tmp_path):
    path = tmp_path / "h.npz"
    with files.replacing(path) as first, files.replacing(path) as second:
        assert first != second and first.suffix == second.suffix == ".npz"
        assert first.parent == second.parent == tmp_path
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # renamed last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("a"), KeyboardInterrupt()])
def test_what_stops_a_write_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(type(error)), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert files.json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught:
        files.write_text(path, "text")
    assert caught.value.filename == str(path) and ".tmp" not in str(caught.value)


def test_a_replaced_file_has_the_permissions_of_any_new_file(tmp_path):
    files.write_text(tmp_path / "written", "text")
    (tmp_path / "plain").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    "read",
    [run_folder.read_config, saved_model.load_encoder, saved_model.read_reference],
)
def test_a_run_that_is_not_there_is_said_with_what_is_near(tmp_path, read):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "photo")
    near = f"there is no such folder; did you mean {tmp_path / 'photos'}?"
    assert near in str(caught.value)
    assert files.missing(tmp_path / "photos") == files.missing("gs://b/x") == ""


FULL_DISKS = [
    OSError(errno.ENOSPC, FULL),
    OSError(f"Can't write data (errno = 28, error message = '{FULL}', buf = 0x1)"),
    tf.errors.ResourceExhaustedError(None, None, f"{NODE}/a_temp/part-0; {FULL} [Op]"),
]


def raises(error):
    def full(*_, **__):
        raise error

    return full


def one_line(path):
    reason = f"{FULL}; make room for it and start the same command again"
    return f"error: could not write {path}: {reason}", 1


@pytest.mark.parametrize("error", FULL_DISKS)
@pytest.mark.parametrize("name", ["encoder.keras", "encoder_uint8.keras"])
def test_a_full_disk_names_the_keras_file(tmp_path, monkeypatch, error, name):
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    monkeypatch.setattr(keras.Model, "save", raises(error))
    with pytest.raises(OSError, match=FULL) as caught:
        saved_model.save_encoder(encoder, tmp_path / name)
    assert endings.line_and_code(caught.value) == one_line(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", FULL_DISKS)
def test_a_full_disk_names_the_saved_model(tmp_path, monkeypatch, error):
    settings = ModelConfig(resnet_depth=10, width_multiplier=0.125, proj_out_dim=4)
    model = models.build_simclr(settings, image_size=9)
    monkeypatch.setattr(tf.saved_model, "save", raises(error))
    with pytest.raises(OSError, match=FULL) as caught:
        saved_model.save_hub_module(model, tmp_path / "saved_model", step=7, keep=1)
    assert endings.line_and_code(caught.value) == one_line(tmp_path / "saved_model/7")
    assert not list((tmp_path / "saved_model").iterdir())


@pytest.mark.parametrize("error", FULL_DISKS)
@pytest.mark.parametrize("suffix", sorted(embed.WRITERS))
def test_a_full_disk_names_the_file_of_embeddings(tmp_path, monkeypatch, error, suffix):
    path = tmp_path / f"h{suffix}"
    monkeypatch.setitem(embed.WRITERS, suffix, raises(error))
    with pytest.raises(OSError, match=FULL) as caught:
        evaluation.write_embeddings(path, names=["a"], features=np.zeros([1, 2]))
    assert endings.line_and_code(caught.value) == one_line(path)


WRITES = {  # file -> what fails, and what writes the file
    "predictions.npz": (
        "numpy.savez_compressed",
        lambda path: predictions.save_predictions(path, {}, np.zeros(1)),
    ),
    "neighbours.npz": (
        "numpy.savez_compressed",
        lambda path: label_free_comparison.save(path, np.zeros([1, 1]), {}),
    ),
    "report.html": (
        "pathlib.Path.write_text",
        lambda path: report.write_report(path, report.ReportData(title="a run")),
    ),
    "evaluations.jsonl": (
        "builtins.open",
        lambda path: curve.write_followed(
            path, 3, {}, {"label_free": {"h_rankme": 2.0}}
        ),
    ),
    "metrics.jsonl": (
        "builtins.open",
        lambda path: logs.MetricsLog(path.parent).write(1, {"loss": 1.0}),
    ),
    "tensorboard": (
        "tensorflow.summary.scalar",
        lambda path: logs.EventLog(path).write(1, {"loss": 1.0}),
    ),
    "trials.json": (
        "pathlib.Path.write_text",
        lambda path: transfer_grid._write(path, {}, []),
    ),
    "labelled_subset.json": (
        "pathlib.Path.write_text",
        lambda path: label_subset.save_subset(
            path, np.zeros(1, int), np.zeros(1, int), seed=0, fraction=0.1
        ),
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_names_what_else_a_run_leaves(tmp_path, monkeypatch, name):
    """Where the error of the write itself has no name."""
    fails, write = WRITES[name]
    with monkeypatch.context() as patched:
        patched.setattr(fails, raises(OSError(errno.ENOSPC, FULL)))
        with pytest.raises(OSError, match=FULL) as caught:
            write(tmp_path / name)
    assert endings.line_and_code(caught.value) == one_line(tmp_path / name)


def test_another_error_of_a_write_stays_as_it_is():
    with pytest.raises(ValueError, match="shape"), files.writing("a"):
        raise ValueError("shape")


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
