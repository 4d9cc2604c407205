"""Runs whose folder is remote (``ram://``, which TensorFlow has in each process)."""

import json
import logging
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import addresses, stopping, workflows
from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.runs import following, remote, remote_files
from simclr_tf2.training import finetune_settings, session
from simclr_tf2.workflows import conclusion
from tests.command_line import ROOT
from tests.support.tiny_runs import QUICK, tiny_config

pytestmark = pytest.mark.usefixtures("short_networks")

RUN = "ram://folders/run"
WEIGHTS = "ckpt-4.data-00000-of-00001"  # and the state of the optimizer
SETTINGS = {
    **QUICK,
    "train_steps": 4,
    "keep_checkpoint_max": 1,
    "protocols": (),
    "export_formats": (),
}


@pytest.fixture(scope="module")
def spool(tmp_path_factory):
    return tmp_path_factory.mktemp("spool")


def config(data_dir, spool, **changes):
    own = {"model_dir": RUN, "spool_dir": str(spool), "data_dir": str(data_dir)}
    return tiny_config(**{**SETTINGS, **own, **changes})


def there(address=RUN):
    return set(remote_files.listing(address))


def read(name, address=RUN):
    return tf.io.read_file(f"{address}/{name}").numpy()


def results(address=RUN, name="results.json"):
    return json.loads(read(name, address))


@pytest.fixture(scope="module")
def trained(data_dir, spool, short_networks):
    """What a finished remote run printed and logged."""
    workflows.run(config(data_dir, spool, export_formats=("keras",), report=True))


@pytest.fixture(autouse=True)
def _no_folder_of_the_schemes_name():
    yield
    assert not list(ROOT.glob("*:"))


def test_everything_that_a_run_writes_is_in_the_remote_folder(trained):
    names = there()
    made = {"results.json", "report.html", "encoder.keras", "config.json", "flags.txt"}
    assert made | {"metrics.jsonl", "history.json", "checkpoint"} <= names
    assert any(name.startswith("tensorboard/events.") for name in names)
    assert not [name for name in names if name.startswith((".", "features"))]
    assert results()["finished"] is True


def test_old_checkpoints_are_removed_there_as_well(trained):
    found = {name for name in there() if name.startswith("ckpt-")}
    assert {name.split(".")[0] for name in found} == {"ckpt-4"}
    assert b"ckpt-4" in read("checkpoint") and b"ckpt-2" not in read("checkpoint")


def test_settings_and_messages_name_the_remote_folder(trained, spool, caplog, capsys):
    for name in there():
        text = read(name).replace(str(spool).encode() + b'"', b"")  # the setting
        text = text.replace(f"--spool_dir={spool}".encode(), b"")
        text = text.replace(f"<td>{spool}<".encode(), b"")
        assert str(spool).encode() not in text, name
    assert json.loads(read("config.json"))["model_dir"] == RUN
    assert f"--model_dir={RUN}\n".encode() in read("flags.txt")


def test_what_is_said_names_the_remote_folder(data_dir, spool, trained, caplog, capsys):
    with caplog.at_level(logging.INFO):
        workflows.run(config(data_dir, spool, mode="export", export_formats=("keras",)))
        workflows.run(config(data_dir, spool, export_formats=("keras",), report=True))
    assert f"{RUN}/encoder.keras: " in capsys.readouterr().out
    assert f"{RUN} is finished at step 4" in caplog.text
    copies = [line for line in caplog.text.splitlines() if str(spool) in line]
    assert all("local copy in" in line for line in copies)
    assert not addresses.has_copy(RUN) and remote.address_of(RUN) == RUN
    with pytest.raises(ConfigError, match=rf"^{RUN} holds another run") as refused:
        workflows.run(config(data_dir, spool, temperature=0.9))
    assert str(spool) not in str(refused.value)


def test_the_table_of_files_is_even(tmp_path, capsys):
    addresses.register_copy(RUN, tmp_path / "copy")
    try:
        paths = [tmp_path / "copy/a.json", tmp_path / "copy/report.html"]
        files = [(path, "for readers") for path in paths]
        conclusion._summary(Measured(), files, {"evaluation": 1.0})
    finally:
        addresses.forget_copy(RUN)
    out = capsys.readouterr().out.splitlines()
    assert f"{RUN}/report.html  for readers" in out
    assert f"{RUN}/a.json       for readers" in out


def test_workers_do_not_wait_for_the_upload_of_a_checkpoint(tmp_path, monkeypatch):
    calls = []
    team = types.SimpleNamespace(together=lambda write: calls.append("together"))
    phase = types.SimpleNamespace(workers=team, folder=tmp_path)
    monkeypatch.setattr(
        remote, "changed", lambda folder, at_once: calls.append((folder, at_once))
    )
    session._Keeper(phase).save(2)
    assert calls == ["together", (tmp_path, True)]


def test_a_run_goes_on_on_another_machine(data_dir, spool, trained, tmp_path):
    """With the weights of the run that was not stopped."""
    stopped = "ram://folders/stopped"
    save = remote.changed

    def stop(folder, *, at_once=False):
        save(folder, at_once=at_once)
        if at_once:
            raise RunFailed("the machine is gone")

    half = config(data_dir, tmp_path / "a", model_dir=stopped, checkpoint_steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "changed", stop)
        with pytest.raises(RunFailed, match="the machine is gone"):
            workflows.run(half)
    assert "ckpt-2.index" in there(stopped)
    assert "results.json" not in there(stopped)
    shutil.rmtree(tmp_path / "a")
    workflows.run(config(data_dir, tmp_path / "b", model_dir=stopped))
    assert read(WEIGHTS, stopped) == read(WEIGHTS)
    steps = [json.loads(x)["step"] for x in read("metrics.jsonl", stopped).splitlines()]
    assert steps == [1, 2, 3, 4]


def test_an_evaluation_reads_and_writes_there(data_dir, trained, tmp_path):
    asked = {
        "mode": "eval",
        "protocols": ("knn",),
        "baselines": False,
        "eval_name": "again",
        "compare_with": (RUN,),
    }
    first = config(data_dir, tmp_path, **{**asked, "compare_with": ()})
    workflows.run(first)
    assert {"results_again.json", "predictions_again.npz"} <= there()
    assert results(name="results_again.json")["step"] == 4
    workflows.run(config(data_dir, tmp_path, **asked))
    assert list(results(name="results_again.json")["comparison"]) == [RUN]
    assert results()["finished"] is True


def test_an_evaluation_follows_a_run_that_grows(data_dir, spool, tmp_path, monkeypatch):
    growing, own = "ram://folders/growing", "ram://folders/own"
    workflows.run(config(data_dir, spool, model_dir=own, keep_checkpoint_max=5))
    for name in there(own):
        if "ckpt-4" not in name and name not in ("checkpoint", "results.json"):
            _copy(own, growing, name)
    refresh = remote.refresh

    def saved_meanwhile(folder):
        for name in there(own):
            if "ckpt-4" in name or name == "checkpoint":
                _copy(own, growing, name)
        refresh(folder)

    monkeypatch.setattr(remote, "refresh", saved_meanwhile)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.0)
    asked = {"mode": "eval", "protocols": ("knn",), "baselines": False, "watch": True}
    workflows.run(config(data_dir, tmp_path, model_dir=growing, **asked))
    lines = read("evaluations.jsonl", growing).splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def _copy(source, target, name):
    folder = f"{target}/{name}".rpartition("/")[0]
    tf.io.gfile.makedirs(folder)
    if tf.io.gfile.exists(f"{target}/{name}"):
        tf.io.gfile.remove(f"{target}/{name}")
    tf.io.gfile.copy(f"{source}/{name}", f"{target}/{name}")


def test_embeddings_and_pictures_are_written_there(data_dir, spool, trained):
    embed = {
        "mode": "embed",
        "input": "simclr_shapes/tiny:test",
        "output": "ram://folders/out/h.npz",
    }
    workflows.run(config(data_dir, spool, **embed))
    with tf.io.gfile.GFile(embed["output"], "rb") as file:
        assert np.load(file)["features"].shape[0] == 500
    scan = {"mode": "scan", "model_dir": None, "preview": "ram://folders/out/a.png"}
    workflows.run(config(data_dir, spool, **scan))
    assert tf.io.decode_png(tf.io.read_file(scan["preview"])).shape[2] >= 3


def tuning(data_dir, tmp_path, place):
    tune = {"mode": "finetune", "train_split": "train", "train_steps": 1}
    return config(
        data_dir,
        tmp_path / "spool",
        model_dir=str(tmp_path / "tuned"),
        checkpoint=place,
        **tune,
    )


@pytest.mark.parametrize("end", ["", "/", "/ckpt-4"])
def test_a_remote_checkpoint_is_read_by_folder_or_prefix(
    data_dir, trained, tmp_path, end
):
    asked = tuning(data_dir, tmp_path, f"{RUN}{end}")
    with remote.folders(asked):
        source = finetune_settings.read_source(asked)
    assert source.image_size == 32 and source.exact


def test_fine_tuning_downloads_the_files_of_its_checkpoint(data_dir, trained, tmp_path):
    asked = tuning(data_dir, tmp_path, f"{RUN}/ckpt-4")
    workflows.run(asked)
    written = json.loads((tmp_path / "tuned/config.json").read_text())
    assert written["checkpoint"] == f"{RUN}/ckpt-4"
    (copy,) = (tmp_path / "spool").glob("*/0/run")
    names = {path.name.partition(".data")[0] for path in copy.rglob("*")}
    assert names == {"ckpt-4", "ckpt-4.index", "ckpt-4.config.json", "config.json"}


def test_a_folder_and_one_within_it_have_copies_of_their_own(
    data_dir, trained, tmp_path
):
    remote_files.upload(ROOT / "LICENSE", "ram://folders/other/notes")
    asked = config(
        data_dir,
        tmp_path,
        mode="eval",
        compare_with=("ram://folders/other", RUN, f"{RUN}/", "ram://folders/other/b"),
    )
    with remote.folders(asked):
        notes = addresses.local("ram://folders/other/notes")
        assert notes.read_text() == (ROOT / "LICENSE").read_text()
        assert addresses.local(RUN) == addresses.local(f"{RUN}/")
        assert addresses.local("ram://folders/other/b").parent != notes.parent
    assert len(list(tmp_path.glob("*/0"))) == 3  # the run is copied once


def test_errors_name_the_remote_file(data_dir, tmp_path):
    (tmp_path / "config.json").write_text("{")
    address = "ram://folders/damaged"
    remote_files.upload(tmp_path / "config.json", f"{address}/config.json")
    with pytest.raises(ConfigError, match=f"^{address}/config.json cannot be read"):
        workflows.run(config(data_dir, tmp_path, model_dir=address, mode="eval"))


def test_a_checkpoint_that_is_not_there_is_refused(data_dir, trained, tmp_path):
    for place in (f"{RUN}/ckpt-9", "ram://folders/none"):
        with pytest.raises(ConfigError, match="no checkpoint there") as refused:
            workflows.run(tuning(data_dir, tmp_path, place))
        assert place in str(refused.value)
        assert str(tmp_path / "spool") not in str(refused.value)
    assert not (tmp_path / "tuned").exists()


def test_an_upload_that_fails_at_the_end_is_an_error_and_keeps_the_files(
    data_dir, tmp_path, monkeypatch
):
    upload = remote_files.upload

    def full(path, address):
        if path.name == "results.json":
            raise tf.errors.PermissionDeniedError(None, None, "quota exceeded")
        return upload(path, address)

    monkeypatch.setattr(remote_files, "upload", full)
    asked = config(data_dir, tmp_path, model_dir="ram://folders/full", train_steps=1)
    with pytest.raises(RunFailed) as failed:
        workflows.run(asked)
    text = str(failed.value)
    assert text.startswith("could not copy results.json to ram://folders/full: ")
    (kept,) = tmp_path.glob("*/0")
    assert f"all files are in {kept} on this machine" in text
    assert (kept / "full" / "results.json").exists()
    monkeypatch.undo()
    workflows.run(asked)  # the same command copies them
    assert results("ram://folders/full")["finished"] is True


@pytest.mark.parametrize("error", [stopping.Interrupted(42), RuntimeError("a defect")])
def test_what_is_there_is_uploaded_after_a_signal_or_an_error(
    data_dir, tmp_path, monkeypatch, error
):
    address = f"ram://folders/{type(error).__name__}"

    def fail(settings, model, folder, **_):
        (folder.path / "left.txt").write_text("last")
        raise error

    monkeypatch.setattr(conclusion, "write_exports", fail)
    asked = config(data_dir, tmp_path, model_dir=address, train_steps=1)
    with pytest.raises(type(error)):
        workflows.run(asked)
    assert read("left.txt", address) == b"last"
    assert not addresses.has_copy(address)
