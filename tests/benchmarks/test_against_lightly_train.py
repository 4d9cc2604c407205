"""benchmarks/against_lightly_train.py, with a stand-in for the other environment."""

import argparse
import json

import numpy as np
import pytest

from benchmarks import against_lightly_train as column
from benchmarks import processes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"image_size": 48}))
    return tmp_path / "one"


class Stand:
    """Writes embeddings that tell the classes apart; keeps what it was asked for."""

    def __init__(self, wrong=()):
        self.calls, self.wrong = [], wrong

    def __call__(self, python, task, log, **arguments):
        self.calls.append((python, task, arguments))
        if task == "embed":
            classes = np.repeat(["a", "b"], 10)
            shown = classes.copy()
            if arguments["images"].name == "validation":
                shown[list(self.wrong)] = "b"
            features = np.zeros([20, 3])
            features[:, 0] += shown == "b"
            files = [f"{label}/{i}.png" for i, label in enumerate(classes)]
            versions = ["0.1", "0.2"]
            np.savez(
                arguments["out"], features=features, files=files, versions=versions
            )
        return 12.34


def test_embeddings_of_a_trained_network_are_probed(folder):
    stand = Stand(wrong=[0, 1])
    found = column.measure("other", folder, steps=7, seed=3, run=stand)
    environment = found.pop("environment")
    assert (environment["lightly_train"], environment["torch"]) == ("0.1", "0.2")
    assert found == {"cpu_seconds": 12.3, "logreg": 90.0, "knn": 90.0}
    (python, task, given), *embedded = stand.calls
    assert (python, task, given["steps"], given["seed"]) == ("other", "pretrain", 7, 3)
    assert given["images"] == folder / "unlabeled"
    assert [call[2]["images"].name for call in embedded] == ["train", "validation"]
    assert {call[2]["image_size"] for call in stand.calls} == {48}


def test_the_rate_is_that_of_two_short_runs(folder):
    found = column.find_rate("other", folder, run=Stand())
    assert found == {"short": 12.34, "long": 12.34}


def test_seeds_share_the_steps_that_fit_the_budget():
    # 10 CPU-seconds to start and 2 a step, in the two short runs and in a long one.
    rates = {"short": 10 + 2 * column.SHORT, "long": 10 + 2 * column.LONG}
    results = {"rates": {"one": rates}, "runs": []}
    assert column._steps(results, "one", 50) == 20
    results["runs"] = [
        {"set": "one", "budget": 300, "steps": 100, "cpu_seconds": 306},
        {"set": "other", "budget": 50, "steps": 99, "cpu_seconds": 1},
    ]
    assert column._steps(results, "one", 300) == 100
    assert column._steps(results, "one", 162) == 52  # 3 a step


def test_what_is_measured_is_kept_and_a_failure_stops_nothing(
    tmp_path, monkeypatch, capsys
):
    done = []

    def measure(python, folder, *, steps, seed):
        if (folder.name, seed) == ("bad", 0):
            raise processes.ProgramFailed("exit code 1: no memory")
        done.append((folder.name, seed))
        return {"cpu_seconds": 1.0, "logreg": 2.0, "knn": 3.0}

    monkeypatch.setattr(column, "measure", measure)
    monkeypatch.setattr(column, "find_rate", lambda *_: {"short": 1.0, "long": 2.0})
    asked = argparse.Namespace(
        lightly_python="other",
        folder=tmp_path,
        sets="bad,good",
        budgets="5",
        seeds="0,1",
        output=tmp_path / "results.json",
    )
    column.measure_all(asked)
    assert done == [("good", 0), ("bad", 1), ("good", 1)]
    assert "no memory" in capsys.readouterr().out
    column.measure_all(asked)
    assert len(done) == 3
    runs = json.loads(asked.output.read_text())["runs"]
    assert [(r["set"], r["seed"], r["budget"]) for r in runs] == [
        ("good", 0, 5.0),
        ("bad", 1, 5.0),
        ("good", 1, 5.0),
    ]


def test_without_the_other_environment_the_column_is_left_out(
    tmp_path, monkeypatch, capsys
):
    output = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["column", f"--output={output}"])
    column.main()
    assert "not measured" in capsys.readouterr().out
    assert not output.exists()
