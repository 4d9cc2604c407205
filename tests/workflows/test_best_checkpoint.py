"""``--best_metric``: the best checkpoint stays, whatever the run deletes."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from simclr_tf2.config import Config, EvaluationConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import best_metric
from simclr_tf2.evaluation.best_metric import value_of
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.results.curve import read_followed, write_followed
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import best_checkpoint, checkpoints
from simclr_tf2.runs.best_checkpoint import BestCheckpoint
from tests import command_line
from tests.support.tiny_runs import measure

NOTHING = Splits(None, None, None)  # images without labels


def record(value, **more):
    facts = {"row": "SimCLR h", "protocol": "knn", "measure": "top1", "weights": "ab"}
    return {**facts, "value": value, **more}


def add(folder, step):
    for suffix in ("index", "data-00000-of-00001", "config.json"):
        (folder / f"ckpt-{step}.{suffix}").write_text(f"{step} {suffix}")


def remove(folder, step):
    for path in folder.glob(f"ckpt-{step}.*"):
        path.unlink()


def follow(folder, values, name=None):
    """Measure one checkpoint after the other; the run keeps the newest one only."""
    best = BestCheckpoint(RunFolder(folder, name), metric="knn", split="test")
    for step, value in values.items():
        add(folder, step)
        with best.holding(step):
            for old, _ in checkpoints.list_checkpoints(folder):
                if old != step:
                    remove(folder, old)
            found = best.offer(step, value)
    return found


def kept(folder):
    return [step for step, _ in checkpoints.list_checkpoints(folder)]


def test_the_best_stays_after_the_run_dropped_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    found = follow(tmp_path, {2: 0.3, 4: 0.7, 6: 0.7, 8: 0.5})
    assert found == {"metric": "knn", "chosen_on": "test", "step": 4, "value": 0.7}
    assert json.loads((tmp_path / "best/best.json").read_text()) == found
    assert kept(tmp_path) == [8] and kept(tmp_path / "best") == [4]
    assert (tmp_path / "best/ckpt-4.index").read_text() == "4 index"
    assert (tmp_path / "best/config.json").exists()
    assert not list(tmp_path.glob(".best*"))
    assert best_checkpoint.is_kept(RunFolder(tmp_path / "best"))


def test_a_second_evaluation_goes_on_from_the_best_of_the_first(tmp_path):
    follow(tmp_path, {2: 0.6})
    assert follow(tmp_path, {4: 0.5})["step"] == 2
    assert follow(tmp_path, {6: 0.61})["step"] == 6
    assert kept(tmp_path / "best") == [6]
    other = BestCheckpoint(RunFolder(tmp_path), metric="svm", split="test")
    add(tmp_path, 8)
    with other.holding(8):
        assert other.offer(8, 0.1)["step"] == 8  # another metric begins anew


def test_a_name_has_a_folder_of_its_own_and_a_lost_checkpoint_is_told(tmp_path, caplog):
    follow(tmp_path, {2: 0.6}, name="val")
    assert kept(tmp_path / "best_val") == [2] and not (tmp_path / "best").exists()
    best = BestCheckpoint(RunFolder(tmp_path, "val"), metric="knn", split="test")
    with best.holding(4):  # nothing there any more
        assert best.offer(4, 0.9)["step"] == 2
    assert "gone before" in caplog.text


def test_a_value_that_is_not_finite_is_never_the_best(tmp_path, caplog):
    nan = float("nan")
    assert follow(tmp_path, {2: nan}) == {} and not (tmp_path / "best").exists()
    assert "knn of ckpt-2 is nan: not kept" in caplog.text
    assert follow(tmp_path, {4: nan, 6: 0.1, 8: nan, 10: 0.05})["step"] == 6
    old = json.loads((tmp_path / "best/best.json").read_text())
    (tmp_path / "best/best.json").write_text(json.dumps({**old, "value": nan}))
    assert follow(tmp_path, {12: 0.01})["step"] == 12


def test_what_is_held_is_let_go_when_measuring_is_stopped(
    finished, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    seen = []

    def stopped(*_, **__):
        (held,) = folder.glob(".best*")
        seen.extend(path.name for path in held.iterdir())
        raise KeyboardInterrupt

    evaluate = importlib.import_module("simclr_tf2.workflows.evaluate")
    monkeypatch.setattr(evaluate, "measure_model", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure(folder, "--protocols=knn", "--best_metric=knn")
    assert "ckpt-12.index" in seen
    assert not list(folder.glob(".best*"))


def test_what_killed_processes_held_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, here = best_checkpoint.socket.gethostname(), os.getpid()
    stale = [f".best.{host}.{ended.pid}", f".best_a.b.{host}.{ended.pid}"]
    others = [f".best.{host}.{here}", f".best.not-{host}.{ended.pid}", "best_a.b.1"]
    for name in (*stale, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ckpt-2.index").touch()
    best_metric.from_config(Config(), RunFolder(tmp_path), NOTHING)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_without_hard_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(best_checkpoint.os, "link", refuse)
    assert follow(tmp_path, {2: 0.6, 4: 0.2})["step"] == 2
    assert (tmp_path / "best/ckpt-2.index").read_text() == "2 index"


def test_values_are_those_of_the_run_never_of_a_baseline():
    results = {
        "Random encoder h/knn": {**record(0.9), "row": "Random encoder h"},
        "SimCLR h/knn": record(0.2),
        "Online linear head/supervised": record(0.4),
    }
    assert value_of("knn", results, {}) == 0.2
    assert value_of("supervised", results, {}) == 0.4
    assert value_of("rankme", results, {"label_free": {"h_rankme": 7}}) == 7
    with pytest.raises(ConfigError, match="svm was not measured; there are knn, sup"):
        value_of("svm", results, {})


def chosen(evaluation, folder):
    config = Config(evaluation=evaluation)
    return best_metric.from_config(config, RunFolder(folder), NOTHING)


def test_a_metric_that_is_not_measured_is_refused_before_anything(tmp_path):
    evaluation = EvaluationConfig(best_metric="rankme", protocols=("knn",))
    with pytest.raises(ConfigError, match="add label_free to --protocols=knn"):
        chosen(evaluation, tmp_path)
    evaluation = EvaluationConfig(best_metric="knn", protocols=("knn",))
    with pytest.raises(ConfigError, match="knn cannot be measured: no labelled"):
        chosen(evaluation, tmp_path)
    evaluation = EvaluationConfig(best_metric="rankme", protocols=("label_free",))
    assert chosen(evaluation, tmp_path)
    with pytest.raises(ConfigError, match="--best_metric must be one of"):
        EvaluationConfig(best_metric="loss")


def test_followed_lines_leave_baselines_out_and_name_depths(tmp_path):
    results = {
        "SimCLR h/knn": record(0.25),
        "Random encoder h/knn": {**record(0.9), "row": "Random encoder h"},
        "SimCLR feature2/features": record(
            0.5, row="SimCLR feature2", protocol="features"
        ),
    }
    del results["Random encoder h/knn"]["weights"]
    path = tmp_path / "evaluations.jsonl"
    write_followed(path, 4, results)
    write_followed(path, 8, results)
    with open(tmp_path / "evaluations.jsonl", "a") as file:
        file.write('{"step": 12, "eval')  # a process that was killed
    assert read_followed(path) == [
        {"step": s, "evaluated_knn_top1": 0.25, "evaluated_feature2_features_top1": 0.5}
        for s in (4, 8)
    ]
    assert read_followed(tmp_path / "none") == []


def test_eval_keeps_the_best_which_is_a_run_folder_of_its_own(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        "--protocols=weighted_knn,label_free",
        "--knn_k=7,3",
        "--knn_metric=euclidean",
        "--knn_weighting=uniform",
        "--best_metric=weighted_knn",
        "--num_virtual_devices=2",
        "--nobaselines",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads((folder / "results.json").read_text())
    found = document["results"]["SimCLR h/weighted_knn"]
    assert (found["k"], found["k_used"]) == (3, {"7": 7, "3": 3})
    assert (found["metric"], found["votes"]) == ("euclidean", "uniform")
    assert document["best"] == json.loads((folder / "best/best.json").read_text())
    assert document["best"]["value"] == found["value"] == found["top1_k3"]
    assert document["compute"]["replicas"] == 2
    page = (folder / "report.html").read_text()
    for words in ("Without labels", "RankMe", "Nearest neighbours by their number"):
        assert words in page
    for path in (folder / "ckpt-12.index", folder / "best/ckpt-12.index"):
        assert path.exists()
    again = command_line.run(  # on one device, and not followed: it will never grow
        "--mode=eval",
        f"--model_dir={folder / 'best'}",
        "--protocols=weighted_knn",
        "--knn_k=7,3",
        "--knn_metric=euclidean",
        "--knn_weighting=uniform",
        "--nobaselines",
        "--noreport",
    )
    assert again.returncode == 0, again.stderr[-2000:]
    single = json.loads((folder / "best/results.json").read_text())
    assert single["compute"]["replicas"] == 1
    assert single["checkpoint"] == document["checkpoint"]
    assert single["results"]["SimCLR h/weighted_knn"]["top1"] == found["top1"]
