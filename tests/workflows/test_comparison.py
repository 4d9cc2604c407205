"""Two runs on the same images, compared image by image."""

import importlib
import json
import shutil

import numpy as np
import pytest

from simclr_tf2 import workflows
from simclr_tf2.data import array_files, identity
from simclr_tf2.errors import ConfigError
from simclr_tf2.results import comparison
from simclr_tf2.results import predictions as kept_predictions
from tests import command_line
from tests.support.program_flags import parsed

LABELS = np.arange(40) % 4


def other_run(path, wrong, *, labels=LABELS, name="SimCLR h/knn"):
    """A folder whose predictions are wrong at these places, as it is read."""
    predicted = np.where(np.isin(np.arange(40), wrong), (LABELS + 1) % 4, LABELS)
    return save(path, labels=labels, **{name: predicted})


def save(path, *, labels, images=None, **predictions):
    """A folder with these predictions, as it is read."""
    path.mkdir(exist_ok=True)
    named = {
        name if "/" in name else f"SimCLR h/{name}": values
        for name, values in predictions.items()
    }
    file = path / "predictions.npz"
    kept_predictions.save_predictions(file, named, labels, images)
    return kept_predictions.load(str(path), name=None)


def compared(here, there):
    return comparison.compare(here.predictions, here.labels, there)


def test_the_p_value_is_the_exact_two_sided_one(tmp_path):
    here = other_run(tmp_path / "a", range(2))
    there = other_run(tmp_path / "b", range(1, 10))
    found = compared(here, there)["SimCLR h/knn"]
    assert found["here"] == pytest.approx(38 / 40)
    assert found["there"] == pytest.approx(31 / 40)
    assert (found["only_a"], found["only_b"]) == (8, 1)
    assert found["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # 9 coins, at most 1
    text = comparison.render({"SimCLR h/knn": found}, "b")
    assert "95.0" in text and "77.5" in text and "0.0391" in text
    # A p value of two trained networks says nothing of other seeds of their recipes.
    assert "trained networks" in text and "not their recipes or seeds" in text
    assert "not their recipes or seeds" in found["about"]
    assert found["mean_per_class"]["about"] == found["about"]


def test_the_mean_over_classes_has_a_permutation_test_of_its_own(tmp_path):
    labels = np.repeat([0, 1], [90, 10])
    better_at_the_rare = np.where(np.arange(100) < 10, 1, labels)  # 10 of 90 wrong
    never_the_rare = np.zeros(100, np.int64)
    here = save(tmp_path / "a", labels=labels, knn=better_at_the_rare)
    there = save(tmp_path / "b", labels=labels, knn=never_the_rare)
    found = compared(here, there)["SimCLR h/knn"]
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
    found = compared(here, there)["SimCLR h/low_shot"]
    assert (found["here"], found["there"]) == (1, pytest.approx(0.6))
    assert found["p_value"] < 1e-3 and found["test"] == "permutation of 40 images"


def test_average_precisions_are_compared_over_classes(tmp_path):
    labels = np.zeros((7, 9), np.int64)
    ours = np.append(np.linspace(0.5, 0.9, 8), np.nan)
    here = save(tmp_path / "a", labels=labels, svm=ours)
    there = save(tmp_path / "b", labels=labels, svm=ours - 0.1)
    found = compared(here, there)["SimCLR h/svm"]
    assert found["difference"] == pytest.approx(0.1)
    assert found["test"] == "permutation of 8 classes"
    # All of 8 signs alike: 2 of 256 patterns.
    assert found["p_value"] == pytest.approx(2 / 256, rel=0.3)
    assert "-  " in comparison.render({"SimCLR h/svm": found}, "b")


def test_what_cannot_be_compared_is_refused(tmp_path):
    here = other_run(tmp_path / "a", [])
    others = other_run(tmp_path / "b", [], labels=LABELS[::-1])
    nothing = other_run(tmp_path / "c", [], name="Other/knn")
    with pytest.raises(ConfigError, match="other test images"):
        compared(here, others)
    with pytest.raises(ConfigError, match="share no protocol"):
        compared(here, nothing)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "predictions.npz").write_bytes(b"PK torn")
    (tmp_path / "e").mkdir()
    for folder, message in (
        ("d", "cannot be read"),
        ("e", "--mode=eval"),
        ("none", "is not a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            kept_predictions.load(str(tmp_path / folder), name=None)


def of_arrays(seed, split="test"):
    images = np.random.default_rng(seed).integers(0, 255, [40, 3, 3, 1], np.uint8)
    return array_files.from_arrays(images, LABELS, name="mine", split=split)


def test_images_are_told_apart_by_their_bytes_not_by_their_labels(tmp_path):
    images = identity.images_of(of_arrays(0), None)
    again = identity.images_of(of_arrays(0, split="test[:100%]"), 64)
    there = save(tmp_path / "a", labels=LABELS, knn=LABELS, images=again)
    assert there.images == again and again["count"] == 40
    comparison.check(there, {"SimCLR h/knn"}, images)
    with pytest.raises(ConfigError, match="100%. .40 images., here mine:test"):
        comparison.check(
            there, {"SimCLR h/knn"}, identity.images_of(of_arrays(1), None)
        )
    with pytest.raises(ConfigError, match="here mine:test .7 images"):
        comparison.check(there, {"SimCLR h/knn"}, identity.images_of(of_arrays(0), 7))


def test_a_file_that_does_not_say_which_images_is_taken_by_their_number(tmp_path):
    there = save(tmp_path / "a", labels=LABELS, knn=LABELS)
    assert there.images is None
    images = identity.images_of(of_arrays(0), None)
    comparison.check(there, {"SimCLR h/knn"}, images)
    with pytest.raises(ConfigError, match="there 40 images, here mine:test .7"):
        comparison.check(there, {"SimCLR h/knn"}, images | {"count": 7})


def test_other_features_of_one_protocol_are_named(tmp_path):
    there = save(tmp_path / "a", labels=LABELS, svm=LABELS)
    images = identity.images_of(of_arrays(0), None)
    with pytest.raises(ConfigError, match="SimCLR h/svm, here .*--svm_features") as e:
        comparison.check(there, {"SimCLR feature5/svm"}, images)
    assert "\n" not in str(e.value)


def test_nothing_to_compare_is_refused_beforehand(tmp_path):
    there = save(tmp_path / "a", labels=LABELS, knn=LABELS)
    images = identity.images_of(of_arrays(0), None)
    with pytest.raises(ConfigError, match="there knn, here logreg"):
        comparison.check(there, {"SimCLR h/logreg"}, images)


@pytest.fixture(name="runs")
def _runs(finished, tmp_path):
    """Two copies of a finished run, of the same predictions of logreg and knn."""
    for name in "ab":
        shutil.copytree(finished[0], tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


EVAL = ["--mode=eval", "--nobaselines", "--noreport", "--probe_examples=100"]


def evaluated(folder, *arguments):
    import flags

    values = parsed(*EVAL, f"--model_dir={folder}", *arguments)
    return workflows.run(flags.config_from_flags(values))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocols=label_free"], "has no label_free results"),
        (["--protocols=transfer"], "none of the --protocols keeps any"),
        (["--protocols=svm"], "there logreg, knn.*, here svm"),
        (["--protocols=knn", "--eval_split=test[:50]"], "test .500 images.*50 images"),
        (["--protocols=knn", "--eval_name=x"], "keeps no predictions_x.npz"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_measuring(
    runs, monkeypatch, arguments, message
):
    here, there = runs
    module = importlib.import_module("simclr_tf2.workflows.evaluate")
    for name in ("measure_model", "baseline_rows"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("measured"))
    before = (here / "results.json").read_bytes()
    with pytest.raises(ConfigError, match=message) as caught:
        evaluated(here, *arguments, f"--compare_with={there}")
    assert "\n" not in str(caught.value)
    assert (here / "results.json").read_bytes() == before


def test_what_was_measured_stays_if_the_comparison_fails(runs):
    """The other file is old, and of other labels: only found once ours are read."""
    here, there = runs
    kept_predictions.save_predictions(
        there / "predictions.npz", {"SimCLR h/knn": np.zeros(500, int)}, np.zeros(500)
    )
    with pytest.raises(ConfigError, match="other test images"):
        evaluated(here, "--protocols=knn", f"--compare_with={there}")
    document = json.loads((here / "results.json").read_text())
    assert list(document["results"]) == ["SimCLR h/knn"]  # of this call, without logreg


def test_only_what_this_call_measured_is_compared(runs):
    here, there = runs
    found = evaluated(here, "--protocols=knn,svm", f"--compare_with={there}")
    assert list(found["comparison"][str(there)]) == ["SimCLR h/knn"]


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
    for record in document["comparison"][str(folder)].values():
        assert record["difference"] == 0 and record["p_value"] == 1
    assert "p: exact McNemar test" in done.stdout


def test_a_folder_that_does_not_exist_is_called_so(tmp_path):
    with pytest.raises(ConfigError, match="gone is not a folder: name a run folder"):
        kept_predictions.load(str(tmp_path / "gone"), name=None)
