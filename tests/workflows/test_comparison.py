"""Two runs on the same images, compared image by image."""

import json

import numpy as np
import pytest

from simclr_tf2.config import ConfigError
from simclr_tf2.workflows import comparison
from tests import command_line

LABELS = np.arange(40) % 4


def run_folder(path, wrong, *, labels=LABELS, name="SimCLR h/knn"):
    """A folder whose predictions are wrong at these places."""
    path.mkdir(exist_ok=True)
    predicted = np.where(np.isin(np.arange(40), wrong), (LABELS + 1) % 4, LABELS)
    comparison.save_predictions(
        comparison.predictions_path(path, None), {name: predicted}, labels
    )
    return path


def test_the_p_value_is_the_exact_two_sided_one(tmp_path):
    here = run_folder(tmp_path / "a", range(2))
    there = run_folder(tmp_path / "b", range(1, 10))
    found = comparison.compare(here, str(there), name=None)["SimCLR h/knn"]
    assert found["here"] == pytest.approx(38 / 40)
    assert found["there"] == pytest.approx(31 / 40)
    assert (found["only_a"], found["only_b"]) == (8, 1)
    assert found["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # 9 coins, at most 1
    text = comparison.render({"SimCLR h/knn": found}, "b")
    assert "95.0" in text and "77.5" in text and "0.0391" in text


def save(path, **predictions):
    path.mkdir(exist_ok=True)
    labels = predictions.pop("labels")
    named = {f"SimCLR h/{name}": values for name, values in predictions.items()}
    comparison.save_predictions(comparison.predictions_path(path, None), named, labels)
    return path


def test_the_mean_over_classes_has_a_permutation_test_of_its_own(tmp_path):
    labels = np.repeat([0, 1], [90, 10])
    better_at_the_rare = np.where(np.arange(100) < 10, 1, labels)  # 10 of 90 wrong
    never_the_rare = np.zeros(100, np.int64)
    here = save(tmp_path / "a", labels=labels, knn=better_at_the_rare)
    there = save(tmp_path / "b", labels=labels, knn=never_the_rare)
    found = comparison.compare(here, str(there), name=None)["SimCLR h/knn"]
    assert found["difference"] == 0 and found["p_value"] == 1  # 90 % both
    mean = found["mean_per_class"]
    assert mean["here"] == pytest.approx((80 / 90 + 1) / 2)
    assert mean["there"] == pytest.approx(0.5)
    assert mean["p_value"] < 0.01
    text = comparison.render({"SimCLR h/knn": found}, "b")
    assert "mean per class" in text and "* permutation" in text


def test_draws_of_few_labels_are_compared_by_their_share(tmp_path):
    right = np.stack([LABELS] * 5, axis=1)
    wrong = (right + 1) % 4
    half = np.where(np.arange(5) < 2, wrong, right)
    here = save(tmp_path / "a", labels=LABELS, low_shot=right)
    there = save(tmp_path / "b", labels=LABELS, low_shot=half)
    found = comparison.compare(here, str(there), name=None)["SimCLR h/low_shot"]
    assert (found["here"], found["there"]) == (1, pytest.approx(0.6))
    assert found["p_value"] < 1e-3 and found["test"] == "permutation of 40 images"


def test_average_precisions_are_compared_over_classes(tmp_path):
    labels = np.zeros((7, 9), np.int64)
    ours = np.append(np.linspace(0.5, 0.9, 8), np.nan)
    here = save(tmp_path / "a", labels=labels, svm=ours)
    there = save(tmp_path / "b", labels=labels, svm=ours - 0.1)
    found = comparison.compare(here, str(there), name=None)["SimCLR h/svm"]
    assert found["difference"] == pytest.approx(0.1)
    assert found["test"] == "permutation of 8 classes"
    # All of 8 signs alike: 2 of 256 patterns.
    assert found["p_value"] == pytest.approx(2 / 256, rel=0.3)
    assert "-  " in comparison.render({"SimCLR h/svm": found}, "b")


def test_what_cannot_be_compared_is_refused(tmp_path):
    here = run_folder(tmp_path / "a", [])
    others = run_folder(tmp_path / "b", [], labels=LABELS[::-1])
    nothing = run_folder(tmp_path / "c", [], name="Other/knn")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "predictions.npz").write_bytes(b"PK torn")
    for folder, message in (
        (others, "other test images"),
        (nothing, "share no protocol"),
        (tmp_path / "d", "cannot be read"),
        (tmp_path / "none", "--mode=eval"),
    ):
        with pytest.raises(ConfigError, match=message):
            comparison.compare(here, str(folder), name=None)


def test_eval_compares_with_another_run(finished):
    folder, _ = finished
    for arguments in ([], [f"--compare_with={folder}"]):
        done = command_line.run(
            "--mode=eval",
            f"--model_dir={folder}",
            "--protocols=knn,weighted_knn",
            "--eval_name=twice",
            "--nobaselines",
            *arguments,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads((folder / "results_twice.json").read_text())
    assert set(document["results"]) >= {"SimCLR h/knn", "SimCLR h/weighted_knn"}
    for record in document["comparison"].values():
        assert record["difference"] == 0 and record["p_value"] == 1
    assert "p: exact McNemar test" in done.stdout
