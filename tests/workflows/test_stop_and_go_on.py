"""Stop at any moment, go on there, extend, move: nothing is lost and nothing mixed."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf2 import endings, stopping, workflows
from simclr_tf2.data import image_sets
from simclr_tf2.errors import ConfigError, Stopped
from simclr_tf2.runs import logs
from tests.support.tiny_runs import tiny_config

STEPS = 4


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "photos"
    for number in range(40):
        draw(folder / ("cats", "dogs")[number % 2] / f"{number}.png", number)
    return folder


def settings(photos, folder, **changes):
    own = {
        "mode": "pretrain",
        "model_dir": str(folder),
        "image_dir": str(photos),
        "data_dir": str(folder.parent / "data"),
        "train_split": "train",
        "probe_split": "",
        "eval_split": "validation",
        "train_batch_size": 8,
        "train_steps": STEPS,
        "warmup_epochs": 0.0,
        "log_steps": 1,
        "checkpoint_steps": 2,
        "protocols": (),
        "export_formats": (),
        "report": False,
        "strategy": "one_device",
    }
    return tiny_config(**{**own, **changes})


def run(config):
    image_sets._open_image_set.cache_clear()  # another process would look again
    return workflows.run(config)


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A finished run, to copy."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(settings(photos, folder))
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def logged(folder, key):
    return [line[key] for line in logs.read_metrics(folder) if key in line]


@pytest.mark.parametrize("part", ["measure_model", "write_exports", "run_report.write"])
def test_a_stop_after_training_is_42_and_the_same_command_goes_on_there(
    photos, copy, monkeypatch, capfd, part
):
    (copy / "results.json").unlink()
    config = settings(photos, copy, report=True)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(f"simclr_tf2.workflows.conclusion.{part}", kill)
        with endings.of_process():
            run(config)
    assert caught.value.code == 42
    expected = f"stopped by SIGTERM: step {STEPS} is saved; the same command goes on"
    assert expected in capfd.readouterr().err
    assert not (copy / "results.json").exists()
    assert run(config)["finished"]
    assert (copy / "report.html").exists() and logged(copy, "step") == [1, 2, 3, 4]


@pytest.mark.parametrize("step", [3, STEPS])
def test_a_stop_in_any_step_and_in_the_last_saves_it(
    photos, tmp_path, monkeypatch, step
):
    """A requested stop is no error; the last step's leaves the evaluation to do.

    In a folder whose name TensorFlow reads as a pattern.
    """
    folder = tmp_path / "[b 1]"
    config = settings(photos, folder)
    write = logs.MetricsLog.write

    def at_step(log, now, scalars):
        write(log, now, scalars)
        if now == step - 1 or (now, step) == (STEPS, STEPS):
            kill()

    with monkeypatch.context() as patch, pytest.raises(Stopped) as caught:
        patch.setattr(logs.MetricsLog, "write", at_step)
        run(config)
    line, code = endings.line_and_code(caught.value)
    assert code == 42 and line.startswith(f"stopped by a signal at step {step} and")
    assert (folder / f"ckpt-{step}.index").exists()
    assert run(config)["finished"]
    assert logged(folder, "step") == [1, 2, 3, 4]


def test_extend_joins_the_curve_and_follows_the_longer_schedule(
    photos, copy, tmp_path, caplog
):
    """From the step on: rates of a run of that length from the start."""
    longer = settings(photos, copy, train_steps=7)
    with pytest.raises(ConfigError, match="another length.*--extend"):
        run(longer)
    document = run(settings(photos, copy, train_steps=7, extend=True))
    assert document["step"] == 7 and document["finished"]
    assert [s["from_step"] for s in document["history"]] == [0, STEPS]
    assert [s["last_step"] for s in document["history"]] == [STEPS, 7]
    assert logged(copy, "step") == [1, 2, 3, 4, 5, 6, 7]
    run(settings(photos, tmp_path / "whole", train_steps=7))
    ours, whole = (logged(f, "learning_rate") for f in (copy, tmp_path / "whole"))
    np.testing.assert_allclose(ours[STEPS:], whole[STEPS:], rtol=0, atol=1e-9)
    assert ours[STEPS - 1] < 1e-9 < whole[STEPS - 1]
    # It is a finished run of that length now, with or without the flag.
    caplog.clear()
    for extend in (False, True):
        run(settings(photos, copy, train_steps=7, extend=extend))
    assert "resuming" not in caplog.text


def test_photos_that_moved_go_on_and_the_run_knows_their_new_place(
    photos, copy, tmp_path
):
    elsewhere = shutil.copytree(photos, tmp_path / "elsewhere")
    document = run(settings(elsewhere, copy))
    assert document["finished"] and logged(copy, "step") == [1, 2, 3, 4]
    config = json.loads((copy / "config.json").read_text())
    assert config["image_dir"] == str(elsewhere)


def test_a_class_that_came_is_refused_and_the_run_folder_stays_as_it_was(
    photos, copy, tmp_path
):
    (copy / "results.json").unlink()
    elsewhere = shutil.copytree(photos, tmp_path / "elsewhere")
    shutil.copytree(elsewhere / "cats", elsewhere / "ants")
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    with pytest.raises(ConfigError, match=r"other classes \(new: ants\)"):
        run(settings(elsewhere, copy))
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    assert json.loads((copy / "classes.json").read_text()) == ["cats", "dogs"]


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": "/no/such/run"},
        {"mode": "finetune", "checkpoint": "/no/such/run"},
        {"mode": "finetune", "label_fraction": 0.001},
        {"fine_tune_after_block": 3},
        {"mode": "eval"},
        {"mode": "export"},
        {"mode": "export", "checkpoint": "/no/such/run", "export_formats": ("keras",)},
        {"mode": "embed", "input": "/no/such", "output": "h.npz"},
        {"protocols": ("knn",), "eval_split": "nowhere"},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_a_refused_command_leaves_nothing_behind(photos, tmp_path, changes):
    with pytest.raises(ConfigError):
        run(settings(photos, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_refused_evaluation_leaves_the_run_as_it_was(photos, copy):
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    with pytest.raises(ConfigError, match="nowhere"):
        changes = {"eval_split": "nowhere", "protocols": ("knn",)}
        run(settings(photos, copy, mode="eval", **changes))
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before


def test_a_finished_run_without_labels_shows_its_label_free_numbers(
    photos, tmp_path, capsys, caplog
):
    caplog.set_level(logging.INFO)
    config = settings(
        photos,
        tmp_path / "run",
        image_layout="flat",
        protocols=("label_free",),
        train_steps=2,
    )
    run(config)
    capsys.readouterr()
    run(config)
    out = capsys.readouterr().out
    assert "RankMe " in out and "(no results)" not in out
    said = f"{tmp_path / 'run'} is finished at step 2: these are its results; images"
    assert said in caplog.text


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(place)]
    with contextlib.suppress(OSError):
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            yield place
            subprocess.run(["umount", str(place)], check=True)
            return
    pytest.skip("may not mount a file system")


def fill(folder, *, leave):
    """Leave so many bytes of a disk."""
    stat = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(stat.f_bavail * stat.f_frsize - leave))


def one_line(error):
    line, code = endings.line_and_code(error.value)
    assert code == 1 and "No space left on device" in line
    assert "\n" not in line and "{" not in line, line
    return line


def test_a_full_disk_while_training_says_so_and_the_run_goes_on_later(
    photos, small_disk
):
    config = settings(photos, small_disk / "run", train_steps=8, keep_checkpoint_max=9)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        run(config)
    one_line(caught)
    names = {path.name for path in (small_disk / "run").iterdir()}
    saved = sorted(int(n[5:-6]) for n in names if n.endswith(".index"))
    assert saved and not any("_temp" in n or n.startswith(".") for n in names)
    remount = ["mount", "-o", "remount,size=20m", str(small_disk)]
    subprocess.run(remount, check=True)
    assert run(config)["step"] == 8
    assert logged(small_disk / "run", "step") == list(range(1, 9))


def test_a_full_disk_while_exporting_keeps_the_old_exports(photos, trained, small_disk):
    folder = small_disk / "run"
    folder.mkdir()
    for path in [*trained.glob("ckpt-4.*"), trained / "config.json"]:
        shutil.copy(path, folder)
    (folder / "encoder.keras").write_bytes(b"old")
    (folder / "saved_model" / "4").mkdir(parents=True)
    (folder / "saved_model" / "4" / "saved_model.pb").write_bytes(b"old")
    fill(small_disk, leave=30_000)
    before = {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    for name in ("keras", "saved_model"):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            run(settings(photos, folder, mode="export", export_formats=(name,)))
        written = {"keras": "encoder.keras", "saved_model": "saved_model/4"}[name]
        assert f"could not write {folder / written}:" in one_line(caught)
    assert {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()} == before


def test_the_end_of_a_run_leaves_signals_as_they_were():
    assert stopping._Process.waiting == 0 and not stopping._Process.installed
    assert tf.executing_eagerly()
