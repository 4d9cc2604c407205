"""--baseline: encoders from elsewhere as rows, and what pretraining was worth."""

import json
import shutil

import pytest

from tests import command_line


def evaluated(run, data_dir, *more):
    return command_line.main(
        "--mode=eval",
        f"--model_dir={run}",
        f"--data_dir={data_dir}",
        "--protocols=logreg",
        *more,
    )


def test_the_same_encoder_has_the_same_row_and_pretraining_no_worth(
    finished, data_dir, tmp_path, capsys
):
    run, other = tmp_path / "run", tmp_path / "other.keras"
    shutil.copytree(finished[0], run)
    shutil.copy(run / "encoder.keras", other)
    code, stderr = evaluated(run, data_dir, f"--baseline={other}")
    assert code == 0, stderr[-2000:]
    said = capsys.readouterr().out
    document = json.loads((run / "results.json").read_text())
    results = document["results"]
    mine, theirs = (results[f"{row}/logreg"] for row in ("SimCLR h", str(other)))
    assert theirs["value"] == mine["value"]
    assert "weights" in mine and "weights" not in theirs
    assert list(results)[1] == f"{other}/logreg"
    worth = document["worth"]
    assert set(worth["against"]) == {
        str(other),
        "Random encoder h",
        "PCA-256 of pixels",
    }
    random = worth["against"]["Random encoder h"]
    difference = mine["value"] - results["Random encoder h/logreg"]["value"]
    assert random["difference"] == pytest.approx(difference)
    low, high = random["interval"]
    assert low < difference < high
    assert worth["against"][str(other)]["difference"] == 0
    assert worth["sentence"] in said
    assert "pretraining on simclr_shapes/tiny" in worth["sentence"]
    page = (run / "report.html").read_text()
    assert worth["sentence"][1:].replace("'", "&#39;") in page


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("no/such.keras", "no encoder at no/such.keras"),
        ("keras.applications.MobileNet", "add --download"),
    ],
)
def test_a_baseline_that_cannot_be_opened_stops_before_training(
    data_dir, tmp_path, monkeypatch, source, text
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    code, stderr = command_line.main(
        *command_line.TINY,
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={data_dir}",
        f"--baseline={source}",
    )
    assert code == 2 and text in stderr.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()
