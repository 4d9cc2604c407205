"""``--protocols=features`` from the command line: schedules, AvgPool, predictions."""

import json
import shutil

import numpy as np
import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, workflows
from simclr_tf2.data import datasets, pipeline
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import runner
from simclr_tf2.evaluation.classifier import classify
from simclr_tf2.evaluation.protocols import depths as depths_protocol
from tests import command_line
from tests.support.program_flags import parsed
from tests.support.subjects import conditions_of

ROWS = ["feature1", "feature2", "feature3", "feature4", "feature5", "AvgPool"]
SHORT = ["--probe_examples=90", "--eval_batch_size=70", "--eval_steps=1"]


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    """A copy of the finished run, measured with a schedule of its own."""
    folder = tmp_path_factory.mktemp("features") / "run"
    shutil.copytree(finished[0], folder)
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        "--protocols=features",
        "--features_epochs=4",
        "--features_milestones=1,2.5",
        "--nobaselines",
        *SHORT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_the_schedule_asked_for_is_trained_and_recorded(measured):
    folder, done = measured
    results = json.loads((folder / "results.json").read_text())["results"]
    assert set(results) == {f"SimCLR {row}/features" for row in ROWS}
    for row in ROWS:
        record = results[f"SimCLR {row}/features"]
        assert record["epochs"] == 4 and record["test_examples"] == 70
        assert len(record["weights"]) == 32 and row in done.stdout
    depth, pooled = (results[f"SimCLR {row}/features"] for row in ("feature1", ROWS[5]))
    assert depth["milestones"] == [1, 2.5] and depth["global_batch_size"] == 90
    assert (pooled["optimizer"], pooled["schedule"]) == ("lars", "cosine")
    assert pooled["dim"] == 64 and pooled["learning_rate"] == 1.6
    assert "AvgPool" in (folder / "report.html").read_text()


def test_each_depth_keeps_its_predictions(measured):
    folder, _ = measured
    results = json.loads((folder / "results.json").read_text())["results"]
    with np.load(folder / "predictions.npz") as file:
        for name in (f"SimCLR {row}/features" for row in ROWS):
            right = (file[name] == file["labels"]).mean()
            assert results[name]["value"] == pytest.approx(right)
            assert "predictions" not in results[name]


def measure(folder, *arguments):
    import flags

    values = parsed(
        "--mode=eval",
        f"--model_dir={folder}",
        "--nobaselines",
        "--noreport",
        "--strategy=one_device",
        *SHORT,
        *arguments,
    )
    return workflows.run(flags.config_from_flags(values))


def test_depths_are_compared_with_another_run(measured, tmp_path):
    folder, _ = measured
    other, here = tmp_path / "other", tmp_path / "here"
    for copy in (other, here):
        shutil.copytree(folder, copy)
    short = ["--features_epochs=4", "--features_milestones="]
    found = measure(here, "--protocols=features", *short, f"--compare_with={other}")
    record = found["comparison"][str(other)]["SimCLR feature3/features"]
    assert record["test"].startswith("McNemar")
    assert found["results"]["SimCLR feature1/features"]["milestones"] == []
    same = found["comparison"][str(other)][
        "SimCLR AvgPool/features"
    ]  # has no milestones
    assert same["difference"] == 0 and same["p_value"] == 1


@pytest.mark.parametrize("mode", ["pretrain", "finetune"])
def test_the_own_classifier_keeps_its_predictions(data_dir, mode):
    flat = {
        "image_size": 32,
        "resnet_depth": 10,
        "width_multiplier": 0.125,
        "protocols": (),
        "train_mode": mode,
        "eval_batch_size": 37,
        "eval_steps": 1,
    }
    config = config_lib.from_flat(flat)
    train, test = (
        datasets.open_split("simclr_shapes/tiny", split, data_dir=str(data_dir))
        for split in ("train", "test")
    )
    conditions = conditions_of(config, train=train, probe=train, test=test)
    model = models.build_simclr(
        config.model, image_size=32, num_classes=train.num_classes, export=True
    )
    found = runner.measure_model(conditions, model)
    (name,) = found.results
    assert [name] == list(found.predictions) == runner.predicted(conditions)
    images = next(
        iter(pipeline.make_eval_dataset(test, batch_size=37, image_size=32, limit=37))
    )
    logits = model.finetune_logits(images["image"], training=False)
    expected = np.argmax(logits, axis=1)
    np.testing.assert_array_equal(found.predictions[name], expected)
    np.testing.assert_array_equal(found.labels, images["label"])
    record = found.results[name]
    assert record["value"] == (expected == images["label"].numpy()).mean()
    assert "predictions" not in record
    alone, labels = classify(conditions, test, model, row="x")
    assert alone["x/supervised"]["value"] == record["value"]
    np.testing.assert_array_equal(alone["x/supervised"]["predictions"], expected)
    np.testing.assert_array_equal(labels, found.labels)


def test_the_defaults_are_the_benchmarks_on_imagenet():
    asked = config_lib.from_flat({}).evaluation
    assert asked.features_epochs == depths_protocol.EPOCHS
    assert asked.features_milestones == depths_protocol.MILESTONES
    both = {"features_epochs": 28, "features_milestones": ("7", " 14", "21 ")}
    asked = config_lib.from_flat(both).evaluation
    assert asked.features_milestones == (7, 14, 21)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features_epochs=0"], "--features_epochs must be"),
        (["--features_epochs=28"], "--features_milestones must be.*_epochs=28.*30"),
        (["--features_milestones=60,30"], "--features_milestones must be.*60"),
        (["--features_milestones=0,30"], "--features_milestones must be"),
        (["--features_milestones=30,ten"], "--features_milestones must be.*ten"),
        (["--features_milestones=nan"], "--features_milestones must be"),
    ],
)
def test_schedules_that_cannot_be_are_one_clear_line(arguments, message):
    import flags

    with pytest.raises(ConfigError, match=message) as caught:
        flags.config_from_flags(parsed(*arguments))
    assert "\n" not in str(caught.value)
