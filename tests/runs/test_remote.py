"""Addresses on the command line: used, or refused in one line; never a local folder."""

import logging
import threading

import pytest
import tensorflow as tf

from simclr_tf2.errors import RunFailed
from simclr_tf2.runs import remote, remote_files
from tests.command_line import ROOT, TINY, main

RUN = "--model_dir=/tmp/none/run"
# Flag with a path -> the rest of a command that reads it, and the end of the path.
READING = {
    "model_dir": (TINY, "run"),
    "spool_dir": ([*TINY, "--model_dir=ram://table/run"], "spool"),
    "checkpoint": (["--mode=finetune", RUN], "run/ckpt-4"),
    "compare_with": (["--mode=eval", RUN], "run"),
    "data_dir": ([*TINY, RUN], "sets"),
    "image_dir": (["--mode=pretrain", RUN], "photos"),
    "manifest": (["--mode=pretrain", RUN], "photos.csv"),
    "tfrecords": (["--mode=pretrain", RUN], "a/{split}-*.tfrecord"),
    "dataset": (["--mode=pretrain", RUN], "arrays.npz"),
    "input": (["--mode=embed", RUN, "--output=/tmp/none/h.npz"], "photos"),
    "output": (["--mode=embed", RUN, "--input=cifar10:test"], "h.npz"),
    "neighbours_of": (["--mode=embed", RUN, "--input=cifar10:test"], "a.png"),
    "preview": (["--mode=scan", "--dataset=cifar10"], "views.png"),
    "transfer_datasets": ([*TINY, RUN, "--protocols=transfer"], "photos"),
    "flagfile": (["--mode=pretrain", RUN], "flags.txt"),
}
WRITTEN = {"output", "preview", "model_dir"}  # with nothing there: made
HERE = {"spool_dir", "neighbours_of", "flagfile", "dataset"}  # have to be local


@pytest.fixture(autouse=True)
def _cache_of_the_test(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(flag, scheme):
    """What the program says to an address of this scheme."""
    others, end = READING[flag]
    name = "own=" if flag == "transfer_datasets" else ""
    place = f"{scheme}bucket/{end}"
    code, said = main(*others, f"--{flag}={name}{place}", "--download=false")
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1, said
    assert not list(ROOT.glob("*:")), "a folder of the scheme's name was made"
    return lines[0]


@pytest.mark.parametrize("flag", READING)
def test_a_scheme_without_a_file_system_is_refused(flag):
    line = refused(flag, "s3://")
    assert f"--{flag}=s3://bucket/{READING[flag][1]}" in line
    what = "on this machine" if flag in HERE else "pip install tensorflow-io"
    assert what in line


@pytest.mark.parametrize("flag", sorted(READING.keys() - {"flagfile"}))
def test_a_misspelt_address_is_no_folder(flag):
    line = refused(flag, "gs:/")
    assert f"did you mean gs://bucket/{READING[flag][1]}?" in line


# A --model_dir with nothing there is a new run: tests/workflows/test_remote_folders.py.
@pytest.mark.parametrize(
    "flag", sorted(READING.keys() - HERE - {"model_dir", *WRITTEN})
)
def test_an_address_with_nothing_there_is_refused(flag):
    line = refused(flag, "ram://")
    assert "ram://bucket" in line or "/tmp/none/run" in line


def test_a_path_is_written_without_file(tmp_path):
    code, said = main(*TINY, f"--model_dir=file://{tmp_path}/run")
    assert code == 2 and f"without file://: --model_dir={tmp_path}" in said


def test_an_unreachable_bucket_is_one_line_and_no_long_wait(tmp_path, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(remote_files, "ANSWER_SECONDS", 1.0)
    spool = tmp_path / "spool"
    code, said = main(*TINY, "--model_dir=gs://bucket/run", f"--spool_dir={spool}")
    assert code == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "--model_dir=gs://bucket/run" in line and "check the network" in line
    assert not spool.exists() and not list(ROOT.glob("*:"))


class _Copy:
    """A local copy whose uploads are counted, or fail."""

    def __init__(self, folder, error=None):
        self.folder, self.pushed, self.error = folder, 0, error
        self.address, self.pulled, self.new = "ram://b/run", 0, False
        self.released = threading.Event()
        self.released.set()

    def push(self):
        self.pushed += 1
        self.released.wait()
        if self.error:
            raise self.error

    def has_new_checkpoint(self):
        return self.new

    def pull(self):
        self.pulled += 1


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A remote run of this process, and the time that it sees."""
    copy, now = _Copy(tmp_path / "run"), [1000.0]
    monkeypatch.setattr(remote, "_RUNS", [remote._Run(copy, uploads=True)])
    monkeypatch.setattr(remote.time, "monotonic", lambda: now[0])
    return copy, now


def test_logs_are_uploaded_once_a_minute_and_checkpoints_at_once(running):
    copy, now = running
    log = copy.folder / "metrics.jsonl"
    remote.changed(log)
    assert copy.pushed == 1
    now[0] += remote.UPLOAD_SECONDS - 1
    remote.changed(log)
    assert copy.pushed == 1
    remote.changed(copy.folder, at_once=True)
    assert copy.pushed == 2
    now[0] += remote.UPLOAD_SECONDS
    remote.changed(copy.folder / "baselines" / "random_init")
    assert copy.pushed == 3


def test_other_folders_are_not_uploaded(running, tmp_path):
    copy, _ = running
    remote.changed(tmp_path / "run2", at_once=True)
    remote.refresh(tmp_path / "run2")
    assert copy.pushed == copy.pulled == 0


def test_an_upload_that_fails_does_not_end_the_run(running, caplog):
    copy, now = running
    copy.error = RunFailed("could not copy a")
    with caplog.at_level(logging.WARNING):
        remote.changed(copy.folder)
        remote.changed(copy.folder)  # not at once again
    assert copy.pushed == 1
    assert "could not copy a. The run goes on and tries again later" in caplog.text
    now[0] += remote.UPLOAD_SECONDS
    remote.changed(copy.folder)
    assert copy.pushed == 2


def test_training_goes_on_beside_an_upload_that_takes_long(
    running, caplog, monkeypatch
):
    copy, _ = running
    (run,) = remote._RUNS
    monkeypatch.setattr(remote, "WAIT_SECONDS", 0.01)
    copy.released.clear()
    copy.new = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            remote.changed(copy.folder, at_once=True)
        remote.refresh(copy.folder)
    assert (copy.pushed, copy.pulled) == (1, 0)
    assert caplog.text.count("takes longer than 0.01 seconds; the run goes on") == 1
    copy.error = RunFailed("of an earlier state")
    threading.Timer(0.05, copy.released.set).start()
    with pytest.raises(RunFailed):  # the end waits, and uploads what has changed since
        run.upload_all()
    assert "still uploading to ram://b/run; Ctrl-C twice" in caplog.text
    assert copy.pushed == 2
    copy.error = None
    run.upload_all()
    assert copy.pushed == 3 and not run.is_busy


def test_the_next_upload_begins_where_the_last_has_ended(running, monkeypatch):
    copy, _ = running
    (run,) = remote._RUNS
    copy.released.clear()
    assert not run.upload(0.01)
    copy.error = RunFailed("of an earlier state")
    copy.released.set()
    run._thread.join()
    copy.error = None
    assert run.upload(10.0)
    assert copy.pushed == 2


def test_settling_uploads_or_fails(running, tmp_path):
    copy, _ = running
    remote.settle(tmp_path / "run2")
    assert copy.pushed == 0
    remote.settle(copy.folder)
    assert copy.pushed == 1
    copy.error = RunFailed("could not copy a")
    with pytest.raises(RunFailed, match="could not copy a"):
        remote.settle(copy.folder)


def test_a_run_that_failed_does_not_wait_for_its_upload(running, caplog, monkeypatch):
    copy, _ = running
    (run,) = remote._RUNS
    monkeypatch.setattr(remote, "FAILED_SECONDS", 0.01)
    copy.released.clear()
    with caplog.at_level(logging.WARNING):
        remote._upload_after(RunFailed("a worker is lost"), run)
    (line,) = caplog.messages
    assert "ram://b/run did not end within 0.01 seconds" in line
    assert str(copy.folder.parent) in line
    caplog.clear()
    copy.released.set()
    monkeypatch.setattr(remote, "FAILED_SECONDS", 10.0)
    remote._upload_after(RunFailed("a worker is lost"), run)
    assert not caplog.messages and copy.pushed == 2 and not run.is_busy


def test_a_follower_downloads_only_a_new_checkpoint(running, caplog):
    copy, _ = running
    remote.refresh(copy.folder)
    assert (copy.pushed, copy.pulled) == (1, 0)
    copy.new = True
    remote.refresh(copy.folder)
    assert (copy.pushed, copy.pulled) == (2, 1)
    lost = tf.errors.UnavailableError(None, None, "gone")
    copy.has_new_checkpoint = lambda: (_ for _ in ()).throw(lost)
    with caplog.at_level(logging.WARNING):
        remote.refresh(copy.folder)
    assert "ram://b/run cannot be read: gone" in caplog.text


def test_workers_after_the_first_do_not_upload(running, monkeypatch):
    from simclr_tf2.config import Config, DistributionConfig

    copy, _ = running
    workers = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": %s}'
    task = '{"type": "worker", "index": 1}'
    monkeypatch.setenv("TF_CONFIG", workers % task)
    assert remote._worker(Config(mode="pretrain")) == 1
    assert remote._worker(Config(mode="eval")) == 0  # on one machine
    monkeypatch.setenv("TF_CONFIG", workers % task.replace("1", "0"))
    assert remote._worker(Config(mode="pretrain")) == 0
    monkeypatch.setenv("TF_CONFIG", "not JSON")  # refused when the workers join
    assert remote._worker(Config(mode="pretrain")) == 0
    cluster = DistributionConfig(cluster=("a:1", "b:2"), task_index=1)
    given = Config(mode="pretrain", distribution=cluster)
    assert remote._worker(given) == 1
    monkeypatch.setattr(remote, "_RUNS", [remote._Run(copy, uploads=False)])
    remote.changed(copy.folder, at_once=True)
    assert copy.pushed == 0


def test_the_address_of_a_copy_is_known(tmp_path):
    from simclr_tf2 import addresses

    assert remote.address_of(tmp_path / "copy") is None
    addresses.register_copy("gs://b/run", tmp_path / "copy")
    try:
        assert remote.address_of(tmp_path / "copy") == "gs://b/run"
        assert remote.address_of(tmp_path / "copy" / "a") == "gs://b/run/a"
    finally:
        addresses.forget_copy("gs://b/run")
