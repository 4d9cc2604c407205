"""Remote files: what is repeated, how long, and what an error says."""

import threading

import pytest
import tensorflow as tf

from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.runs import remote_files

HTTP = "Error executing an HTTP request: HTTP response code {} with body '{{\n  1\n}}'"
LOST = (
    "Error executing an HTTP request: libcurl code 6 meaning 'Could not resolve "
    "hostname', error details: Could not resolve host: x.com\n\t when reading gs://b"
)


def failing(*errors):
    """An operation that fails with these errors, one at each call, then works."""
    left = list(errors)

    def operation():
        if left:
            raise left.pop(0)
        return "done"

    return operation


def unavailable(text="gone"):
    return tf.errors.UnavailableError(None, None, text)


def test_transient_errors_are_repeated_with_growing_pauses():
    pauses = []
    operation = failing(*[unavailable()] * len(remote_files.WAITS))
    assert remote_files.repeated(operation, sleep=pauses.append) == "done"
    assert pauses == list(remote_files.WAITS) == sorted(pauses)


def test_they_are_not_repeated_without_end():
    operation = failing(*[unavailable()] * (len(remote_files.WAITS) + 1))
    with pytest.raises(tf.errors.UnavailableError):
        remote_files.repeated(operation, sleep=lambda _: None)


def test_what_takes_long_to_fail_is_not_repeated():
    times = iter([0.0, remote_files.PATIENCE + 1])
    with pytest.raises(tf.errors.UnavailableError):
        remote_files.repeated(
            failing(unavailable()), sleep=pytest.fail, clock=lambda: next(times)
        )


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.PermissionDeniedError(None, None, "no"),
        tf.errors.NotFoundError(None, None, "no"),
        tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
        tf.errors.FailedPreconditionError(None, None, "the bucket is locked"),
    ],
)
def test_other_errors_are_not_repeated(error):
    with pytest.raises(type(error)):
        remote_files.repeated(failing(error), sleep=pytest.fail)


def test_a_lost_network_is_transient():
    lost = tf.errors.FailedPreconditionError(None, None, LOST)
    assert remote_files.repeated(failing(lost), sleep=lambda _: None) == "done"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HTTP.format(403), "permission denied (HTTP 403)"),
        (HTTP.format(404), "no bucket (HTTP 404)"),
        (HTTP.format(503), "the server failed (HTTP 503)"),
        (LOST, "Could not resolve host: x.com"),
        ("something\nelse", "something"),
    ],
)
def test_the_reason_is_one_line(text, said):
    assert remote_files.why(tf.errors.AbortedError(None, None, text)) == said


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "https"])
def test_a_scheme_that_tensorflow_lacks_is_refused(scheme):
    with pytest.raises(ConfigError, match="pip install tensorflow-io") as refused:
        remote_files.require_scheme("model_dir", f"{scheme}://b/run")
    assert f"no file system for {scheme}://" in str(refused.value)
    remote_files.require_scheme("model_dir", "ram://b/run")
    remote_files.require_scheme("model_dir", "gs://b/run")


def test_a_server_that_does_not_answer_ends_after_the_limit(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(tf.io.gfile, "stat", lambda _: released.wait())
    with pytest.raises(ConfigError, match="no answer within 0.05 seconds"):
        remote_files.require_answer("model_dir", "gs://b/run", seconds=0.05)
    released.set()


def test_a_bucket_that_may_not_be_listed_can_have_files_that_may_be_read(monkeypatch):
    denied = tf.errors.PermissionDeniedError(None, None, HTTP.format(403))
    monkeypatch.setattr(tf.io.gfile, "stat", lambda _: failing(denied)())
    with pytest.raises(ConfigError, match=r"permission denied"):
        remote_files.require_answer("data_dir", "gs://b/sets")
    remote_files.require_answer("tfrecords", "gs://b", whole=False)


def test_a_lost_network_is_no_empty_folder(monkeypatch):
    """``tf.io.gfile.listdir`` says of both that there is no folder."""

    def stat(_):
        raise tf.errors.FailedPreconditionError(None, None, LOST)

    monkeypatch.setattr(remote_files, "WAITS", (0.0,))
    assert remote_files.listing("ram://nothing/there") == {}
    monkeypatch.setattr(tf.io.gfile, "stat", stat)
    with pytest.raises(tf.errors.FailedPreconditionError):
        remote_files.listing("ram://nothing/there")


def test_a_folder_that_is_there_and_cannot_be_listed_is_not_empty(monkeypatch):
    def listdir(_):
        raise tf.errors.NotFoundError(None, None, "Could not find directory")

    tf.io.gfile.makedirs("ram://listed/run")
    monkeypatch.setattr(remote_files, "WAITS", (0.0,))
    monkeypatch.setattr(tf.io.gfile, "listdir", listdir)
    with pytest.raises(tf.errors.UnavailableError, match="could not be listed"):
        remote_files.listing("ram://listed/run")


def test_an_upload_of_another_size_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "WAITS", (0.0,))
    monkeypatch.setattr(remote_files, "stat", lambda _: [3, 1])
    (tmp_path / "a").write_text("12345")
    with pytest.raises(tf.errors.UnavailableError, match="incomplete"):
        remote_files.upload(tmp_path / "a", "ram://sizes/a")


def test_a_folder_is_probed_without_a_trace():
    remote_files.require_writable("model_dir", "ram://probe/run")
    assert remote_files.listing("ram://probe/run") == {}


def test_output_is_copied_when_it_is_whole(tmp_path):
    with remote_files.written("ram://out/x.csv") as path:
        with open(path, "w") as file:
            file.write("1")
    assert tf.io.read_file("ram://out/x.csv").numpy() == b"1"
    with remote_files.written(str(tmp_path / "x.csv")) as path:
        assert path == str(tmp_path / "x.csv")
    with pytest.raises(RunFailed, match="nowhere://x/y.csv cannot be written"):
        with remote_files.written("nowhere://x/y.csv") as path:
            open(path, "w").close()
