"""What ``--mode=eval`` refuses to call a measurement, and where numbers go."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import files, workflows
from simclr_tf2.config import EvaluationConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.inputs import Splits, open_splits
from simclr_tf2.results import curve
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.training.splits import open_split
from simclr_tf2.workflows.evaluate import _seen_by_the_classifier
from tests import command_line
from tests.support.program_flags import parsed
from tests.support.tiny_runs import measure


@pytest.fixture(scope="module", name="run")
def _run(finished, tmp_path_factory):
    """A copy of the finished run."""
    place = tmp_path_factory.mktemp("honest") / "run"
    shutil.copytree(finished[0], place)
    return place


def pictures(folder, *classes):
    """Six pictures in each of these folders."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng([number, i]).integers(0, 255, [20, 20, 3])
            data = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
            (folder / name / f"{i}.png").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["."], "has no labels; --protocols=label_free needs none"),
        (["cat"], "has one class only: cat;"),
        (["train/cat", "test/cat"], "has one class only: cat;"),
    ],
)
def test_a_protocol_that_is_asked_for_needs_labels(run, tmp_path, classes, message):
    photos = pictures(tmp_path / "photos", *classes)
    for names in ("knn", "logreg,knn", "label_free,svm"):
        left = names.removeprefix("label_free,")
        with pytest.raises(ConfigError, match=message) as caught:
            measure(run, f"--image_dir={photos}", f"--protocols={names}")
        assert f"--protocols={left} need images of two classes" in str(caught.value)
    assert not (run / "results_bad.json").exists()
    found = measure(
        run, f"--image_dir={photos}", "--protocols=label_free", "--eval_batch_size=3"
    )
    assert found["results"] == {} and found["label_free"]["images"] == 6
    (run / "results_bad.json").unlink()


def test_a_flagfile_of_the_run_itself_asks_for_nothing_more(run, tmp_path, caplog):
    photos = pictures(tmp_path / "photos", ".")
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = run_folder.read_config(folder)
    data = dataclasses.replace(config.data, image_dir=str(photos), train_split="all")
    evaluation = dataclasses.replace(config.evaluation, probe_split="")
    config = dataclasses.replace(config, data=data, evaluation=evaluation)
    files.write_json(folder / "config.json", config_lib.to_flat(config))
    given = frozenset(["protocols", "image_dir", "train_split"])
    found = workflows.run(
        dataclasses.replace(config, mode="eval", model_dir=str(folder), given=given)
    )
    assert found["results"] == {} and "label_free" in found
    assert "has no labels: --protocols=logreg,knn are skipped" in caplog.text


def test_a_classifier_is_not_scored_on_what_it_learned_from(run):
    config = run_folder.read_config(run)
    data = dataclasses.replace(config.data, train_split="train")
    trained = dataclasses.replace(config, data=data)
    for split, seen in (("train[90%:]", 50), ("test", 0)):
        splits = Splits(None, None, open_split(trained.data, trained.evaluation, split))
        assert _seen_by_the_classifier(trained, splits) == seen
        assert _seen_by_the_classifier(config, splits) == 0  # unlabelled


def test_a_run_with_a_name_of_before_can_be_read(run, tmp_path):
    stored = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | {"eval_name": "5 %"}))
    assert run_folder.read_config(tmp_path).evaluation.eval_name is None
    assert run_folder.read_config(tmp_path) == run_folder.read_config(run)


def test_by_the_command_line_that_is_one_line_and_exit_code_2(run, tmp_path):
    photos = pictures(tmp_path / "photos", "cat")
    code, stderr = command_line.main(
        "--mode=eval", f"--model_dir={run}", f"--image_dir={photos}", "--protocols=knn"
    )
    assert code == 2 and "Traceback" not in stderr
    assert "one class only: cat" in stderr.strip().splitlines()[-1]


def test_protocols_that_nobody_asked_for_are_left_out_without_naming_them(
    run, tmp_path, caplog
):
    caplog.set_level("INFO")
    photos = pictures(tmp_path / "photos", "train/cat", "test/cat")
    found = measure(run, f"--image_dir={photos}", "--eval_batch_size=3")
    assert found["results"] == {} and "label_free" in found
    said = [r for r in caplog.records if "one class only" in r.message]
    assert [r.levelname for r in said] == ["INFO"]
    assert said[0].message.endswith(
        "photos has one class only: cat: label-free measures only"
    )
    assert "--protocols" not in caplog.text
    (run / "results_bad.json").unlink()


@pytest.mark.parametrize("protocol", ["logreg_sweep", "knn", "semi", "features"])
def test_images_that_are_learned_from_are_not_tested_on(run, protocol):
    with pytest.raises(
        ConfigError, match="probe_split=test and --eval_split=test .* share 500 images"
    ) as caught:
        measure(run, f"--protocols={protocol}", "--probe_split=test")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="share 100 images"):
        measure(
            run,
            f"--protocols={protocol}",
            "--probe_split=test[:300]",
            "--eval_split=test[200:]",
        )


def test_pretraining_warns_and_writes_down_that_the_images_are_the_same(
    data_dir, tmp_path, caplog
):
    import flags

    arguments = [
        *command_line.TINY,
        f"--data_dir={data_dir}",
        f"--model_dir={tmp_path / 'run'}",
        "--probe_split=test[:60]",
        "--eval_split=test[50:80]",
        "--protocols=knn",
        "--train_steps=1",
        "--train_batch_size=4",
        "--nobaselines",
        "--noreport",
        "--export_formats=",
        "--strategy=one_device",
    ]
    found = workflows.run(flags.config_from_flags(parsed(*arguments)))
    assert found["images_in_both_splits"] == 10
    assert caplog.text.count("share 10 images") == 1
    config = run_folder.read_config(tmp_path / "run")
    asked = dataclasses.replace(config.evaluation, probe_split="train")
    open_splits(dataclasses.replace(config, evaluation=asked), refuse_shared=True)


@pytest.mark.parametrize("name", ["x/y", "../x", "..", ".x", "-x", "a b", "x\n"])
def test_a_name_that_is_no_name_of_a_file_is_refused(name):
    with pytest.raises(ConfigError, match="--eval_name must be"):
        EvaluationConfig(eval_name=name)


def test_by_the_command_line_a_bad_name_ends_before_anything_is_read(tmp_path):
    code, stderr = command_line.main(
        "--mode=eval", f"--model_dir={tmp_path}", "--eval_name=x/y"
    )
    (line,) = stderr.strip().splitlines()
    assert code == 2 and "--eval_name must be letters" in line


def tags(folder):
    """Every scalar in TensorBoard's files, by tag."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                found[value.tag] = tf.make_ndarray(value.tensor).item()
    return found


def test_numbers_without_labels_reach_tensorboard_and_the_curve(run):
    found = measure(
        run, "--protocols=label_free", "--eval_name=free", "--best_metric=rankme"
    )
    rank = found["label_free"]["h_rankme"]
    assert tags(run / "tensorboard" / "free")["label_free/h/rankme"] == pytest.approx(
        rank
    )
    (line,) = curve.read_followed(RunFolder(run, "free").evaluations)
    assert line["step"] == 12 and line["label_free_h_rankme"] == rank
    assert {"label_free_z_std", "label_free_h_uniformity"} <= set(line)


def test_what_is_no_row_of_the_table_has_tags_of_its_own():
    others = {
        "label_free": {"h_std": 0.5, "h_rankme_max": 64, "images": 9, "split": "test"},
        "transfer": {"dtd": {"value": 0.25}, "pets": {"value": None}},
        "transfer_random_init": {"dtd": {"value": 0.125}},
        "semi": {"1 % of the labels": {"value": 0.75, "top5": 1.0}},
    }
    assert curve.scalars(others) == {
        "label_free/h/std": 0.5,
        "transfer/dtd/linear": 0.25,
        "transfer/dtd/random_init": 0.125,
        "semi/1 % of the labels": 0.75,
    }


def test_a_line_names_them_in_words(tmp_path):
    others = {
        "semi": {"1 % of the labels": {"value": 0.75}},
        "label_free": {"h_std": 1},
    }
    curve.write_followed(tmp_path / "evaluations.jsonl", 3, {}, others)
    line = json.loads((tmp_path / "evaluations.jsonl").read_text())
    assert line == {
        "step": 3,
        "evaluated_semi_1_of_the_labels": 0.75,
        "label_free_h_std": 1.0,
    }
