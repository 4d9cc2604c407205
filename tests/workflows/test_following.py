"""``--mode=eval`` beside a run: each new checkpoint, until the last step."""

import importlib
import json
import re
import signal
import time

import pytest

from simclr_tf2.runs import checkpoints
from simclr_tf2.runs.following import new_checkpoints
from tests import command_line


class Run:
    """A folder whose checkpoints appear while somebody waits."""

    def __init__(self, folder, *later):
        self.folder, self.later, self.now = folder, list(later), 0.0

    def add(self, *steps):
        for step in steps:
            (self.folder / f"ckpt-{step}.index").touch()

    def sleep(self, seconds):
        self.now += seconds
        if self.later:
            self.add(*self.later.pop(0))

    def follow(self, total_steps, **settings):
        return list(
            new_checkpoints(
                self.folder,
                total_steps=total_steps,
                sleep=self.sleep,
                clock=lambda: self.now,
                **settings,
            )
        )


def test_each_new_checkpoint_is_measured_until_the_last_step(tmp_path):
    run = Run(tmp_path, [3], [], [6, 9], [12], [15])
    assert run.follow(12, watch=True) == [3, 9, 12]


def test_a_run_at_its_last_step_is_measured_once(tmp_path):
    run = Run(tmp_path)
    run.add(4, 8)
    assert run.follow(8, watch=True) == [8]
    assert run.now == 0


def test_without_watch_the_newest_is_all(tmp_path):
    run = Run(tmp_path, [9])
    run.add(4, 8)
    assert run.follow(100, watch=False) == [8]
    assert Run(tmp_path / "empty").follow(100, watch=False) == []


def test_waiting_ends_after_the_timeout_and_says_so(tmp_path, caplog):
    run = Run(tmp_path)
    run.add(4)
    assert run.follow(100, watch=True, timeout=1.0) == [4]
    assert 60 < run.now < 75
    assert "no new checkpoint" in caplog.text


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@pytest.mark.slow
def test_eval_follows_a_run_that_stops_and_goes_on(tmp_path, data_dir):
    """Train a part, start eval, train the rest: eval sees both and ends by itself."""
    folder = tmp_path / "run"
    arguments = [
        *command_line.TINY,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        "--train_split=train",
        "--train_steps=4000",
        "--checkpoint_steps=2",
        "--protocols=knn",
        "--noreport",
        "--export_formats=",
    ]
    training = command_line.start(*arguments)
    wait_for(lambda: checkpoints.list_checkpoints(folder))
    training.send_signal(signal.SIGTERM)
    training.communicate(timeout=60)
    assert training.returncode == 42
    (first, _), *_ = checkpoints.list_checkpoints(folder)
    total = first + 4
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "train_steps": total}))
    eval_flags = ["--mode=eval", f"--model_dir={folder}", "--eval_name=beside"]
    following = command_line.start(*eval_flags, "--nobaselines")
    try:
        wait_for((folder / "results_beside.json").exists)
        arguments[arguments.index("--train_steps=4000")] = f"--train_steps={total}"
        done = command_line.run(*arguments, "--nobaselines")
        assert done.returncode == 0, done.stderr[-2000:]
        output, _ = following.communicate(timeout=120)
    finally:
        following.kill()
    assert following.returncode == 0, output[-2000:]
    steps = [int(s) for s in re.findall(r"^step (\d+)$", output, re.MULTILINE)]
    assert steps[0] == first and steps[-1] == total and len(set(steps)) == len(steps)
    document = json.loads((folder / "results_beside.json").read_text())
    assert document["step"] == total
    assert set(document["results"]) == {"SimCLR h/knn", "Online linear head/supervised"}
    assert {"top1", "top5"} <= set(document["results"]["Online linear head/supervised"])
    assert list((folder / "tensorboard" / "beside").iterdir())


def test_a_checkpoint_that_came_while_another_was_read_is_measured_once(
    finished, data_dir, tmp_path, monkeypatch, capsys
):
    module = importlib.import_module("simclr_tf2.workflows.evaluate")
    monkeypatch.setattr(module, "new_checkpoints", lambda *_, **__: iter([7, 12]))
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={finished[0]}",
        f"--data_dir={data_dir}",
        "--protocols=knn",
        "--eval_name=twice",
        "--nobaselines",
        "--noreport",
    )
    assert code == 0, stderr[-2000:]
    assert re.findall(r"^step (\d+)$", capsys.readouterr().out, re.MULTILINE) == ["12"]
