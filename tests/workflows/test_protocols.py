"""Every protocol on one finished run, through the command line."""

import json
import shutil

import numpy as np
import pytest

from simclr_tf2.runs import checkpoints
from tests import command_line
from tests.support.drawn import dark_and_light
from tests.support.results_page import undocumented
from tests.support.tiny_runs import measure

CLASSIFIERS = "weighted_knn logreg_sweep logreg_adam linear svm low_shot".split()


def row_of(name):
    return f"SimCLR {'feature5' if name in ('svm', 'low_shot') else 'h'}/{name}"


def test_every_classifier_tells_dark_images_from_light_ones(finished, tmp_path):
    """Which 12 steps of training suffice for; on shapes they are close to a guess."""
    shutil.copytree(finished[0], tmp_path / "run")
    dark_and_light(tmp_path / "brightness")
    document = measure(
        tmp_path / "run",
        f"--image_dir={tmp_path / 'brightness'}",
        f"--protocols={','.join(CLASSIFIERS)}",
        "--probe_split=train",
        "--eval_split=test",
    )
    for name in CLASSIFIERS:
        record = document["results"][row_of(name)]
        assert record["test_examples"] == 24 and record["value"] >= 0.9, name


@pytest.mark.slow
def test_every_protocol_measures_a_finished_run(finished, tmp_path):
    folder, _ = finished
    dark_and_light(tmp_path / "brightness")
    names = (
        "weighted_knn logreg_sweep logreg_adam linear svm low_shot features label_free "
        "transfer"
    )
    arguments = [
        "--mode=eval",
        f"--model_dir={folder}",
        f"--protocols={','.join(names.split())}",
        f"--transfer_datasets=brightness={tmp_path / 'brightness'}",
        "--probe_examples=200",
        "--eval_name=all",
        "--nobaselines",
    ]
    before = checkpoints.weights(f"{folder}/ckpt-12")
    done = command_line.run(*arguments, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads((folder / "results_all.json").read_text())
    results = document["results"]
    for name in CLASSIFIERS:
        record = results[row_of(name)]
        assert 0 <= record["value"] <= 1
        assert record["test_examples"] == 500
        assert len(record["weights"]) == 32
    stages = [f"SimCLR feature{i}/features" for i in range(1, 6)]
    assert set(stages) <= set(results)
    assert document["label_free"]["h_std"] > 0
    assert undocumented(document) == set()  # docs/results.md
    assert document["transfer"]["brightness"]["value"] > 0.9
    for word in ("weighted kNN", "low-shot", "feature3", "RankMe", "brightness"):
        assert word in done.stdout
    after = checkpoints.weights(f"{folder}/ckpt-12")
    assert all(np.array_equal(before[k], after[k]) for k in before)
    kept = {p.name for p in (folder / "features").iterdir()}
    again = command_line.run(*arguments, timeout=600)
    assert again.returncode == 0, again.stderr[-3000:]
    # h, feature5 and stages of two splits, and transfer's three.
    assert again.stderr.count("read from") >= 9
    assert {p.name for p in (folder / "features").iterdir()} == kept
    repeated = json.loads((folder / "results_all.json").read_text())["results"]
    for name, record in results.items():
        assert repeated[name]["value"] == record["value"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocols=magic"], "--protocols must be one of"),
        (["--protocols=transfer", "--transfer_datasets=cifar11"], "cifar10"),
        (["--protocols=transfer", "--transfer_datasets=cifar10"], "--download"),
        (["--protocols=", "--nowatch"], "nothing to measure"),
        (["--protocols=knn", "--compare_with=/none"], "is not a folder"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(finished, arguments, message):
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={finished[0]}",
        "--eval_name=bad",
        "--nobaselines",
        *arguments,
    )
    lines = stderr.strip().splitlines()
    assert code == 2, stderr[-2000:]
    assert lines[-1].startswith("error: ") and message in lines[-1], lines[-1]
