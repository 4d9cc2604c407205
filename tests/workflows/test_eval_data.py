"""``--mode=eval``: what comes from the run, and what from the command line."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from simclr_tf2 import models, workflows
from simclr_tf2.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    given_settings,
)
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import inputs, runner
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.runs import eval_settings
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.restoring import restore_model
from tests import command_line
from tests.support.drawn import dark_and_light
from tests.support.program_flags import parsed
from tests.support.tiny_runs import measure
from tests.workflows import stand_ins

TRAINED = Config(
    mode="pretrain",
    seed=3,
    data=DataConfig(
        dataset="mnist",
        data_dir="/a",
        image_size=28,
        train_split="train",
        labels_per_class=3,
        download=True,
    ),
    evaluation=EvaluationConfig(
        eval_split="test",
        probe_split="train[:50%]",
        protocols=("weighted_knn",),
        knn_metric="euclidean",
        baselines=False,
    ),
)


def settings(*arguments, trained=TRAINED):
    """What is measured with under these flags."""
    import flags

    asked = flags.config_from_flags(parsed("--mode=eval", *arguments))
    return eval_settings.merged(asked, trained)


@pytest.fixture(name="run")
def _run(finished, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module", name="noise")
def _noise(tmp_path_factory):
    """Another data set: 40 + 15 images of 3 classes, of another size."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 40), ("test", 15)):
        labels = np.arange(count) % 3
        images = (
            random.integers(0, 80, [count, 24, 24, 3])
            + 80 * labels[:, None, None, None]
        )
        arrays |= {
            f"{split}_images": images.astype(np.uint8),
            f"{split}_labels": labels,
        }
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(path, **arrays)
    return path


def test_without_data_flags_the_images_are_the_runs():
    merged = settings("--data_dir=/b")
    assert merged.same_data and merged.config.data == dataclasses.replace(
        TRAINED.data, data_dir="/b"
    )
    assert merged.config.seed == 3
    assert merged.config.evaluation == TRAINED.evaluation


def test_a_flag_counts_where_it_is_given_be_it_the_default(tmp_path):
    (tmp_path / "more.flags").write_text("--label_fraction=1\n--nodownload\n")
    merged = settings(
        "--protocols=logreg,knn",
        "--knn_metric=cosine",
        "--baselines",
        "--seed=0",
        f"--flagfile={tmp_path / 'more.flags'}",
    )
    found = merged.config
    assert found.evaluation.protocols == ("logreg", "knn")
    assert found.evaluation.knn_metric == "cosine" and found.evaluation.baselines
    assert (found.data.label_fraction, found.data.labels_per_class) == (1, 0)
    assert not found.data.download and found.seed == 0


def test_a_config_of_python_gives_what_differs_from_the_defaults():
    asked = Config(mode="eval", data=DataConfig(data_dir="/b", label_fraction=0.1))
    assert given_settings(asked) == {"mode", "data_dir", "label_fraction"}
    data = eval_settings.merged(asked, TRAINED).config.data
    assert (data.data_dir, data.label_fraction, data.labels_per_class) == ("/b", 0.1, 0)
    assert (
        eval_settings.merged(Config(mode="eval"), TRAINED).config.data == TRAINED.data
    )


def test_other_images_take_no_split_and_no_share_of_labels_from_the_run():
    merged = settings("--dataset=fashion_mnist", "--eval_split=test[:9]")
    data, asked = merged.config.data, merged.config.evaluation
    assert not merged.same_data and data.dataset == "fashion_mnist"
    assert (data.image_size, data.data_dir) == (28, "/a")
    assert (data.train_split, data.labels_per_class, data.download) == (
        "train",
        0,
        False,
    )
    assert (asked.probe_split, asked.eval_split) == ("", "test[:9]")
    assert asked.protocols == ("weighted_knn",) and asked.eval_name == "fashion_mnist"
    assert settings("--dataset=cifar10").config.evaluation.eval_split == "validation"
    named = settings("--dataset=cifar10", "--eval_name=x", "--probe_split=a")
    assert named.config.evaluation.eval_name == "x"
    assert named.config.data.train_split == "a"  # nothing else is opened


def test_the_runs_data_set_by_name_is_the_runs(caplog):
    assert settings("--dataset=mnist").same_data
    folder = dataclasses.replace(TRAINED, data=DataConfig(image_dir="photos"))
    assert settings("--image_dir=./photos/", trained=folder).same_data
    assert settings("--dataset=mnist", "--image_dir=photos", trained=folder).same_data
    assert "--dataset=mnist is not read: the images are those of photos" in caplog.text
    assert not settings("--dataset=mnist", trained=folder).same_data
    assert not settings("--label_key=parity").same_data  # other labels, the same splits
    assert settings("--label_key=parity").config.evaluation.eval_split == "test"


def test_the_training_split_is_what_is_learned_from_if_it_is_named():
    assert (
        settings("--train_split=train").config.evaluation.probe_split == "train[:50%]"
    )
    other = settings("--train_split=train[:9]").config
    assert (other.data.train_split, other.evaluation.probe_split) == ("train[:9]", "")
    both = settings("--train_split=train[:9]", "--probe_split=train[9:]").config
    assert both.evaluation.probe_split == "train[9:]"


def test_the_stem_stays_what_it_was_at_the_size_of_training():
    assert settings("--image_size=64").config.model.stem == "cifar"
    assert settings("--image_size=28").config.model.stem == "auto"
    imagenet = dataclasses.replace(TRAINED, data=DataConfig(image_size=224))
    assert settings("--image_size=32", trained=imagenet).config.model.stem == "imagenet"
    fixed = dataclasses.replace(TRAINED, model=ModelConfig(stem="stride2"))
    assert settings("--image_size=64", trained=fixed).config.model.stem == "stride2"


def test_other_channels_are_refused():
    with pytest.raises(ConfigError, match="--image_channels=3"):
        settings("--image_channels=1")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (DataConfig(dataset="simclr_shapes/64"), "simclr_shapes-64"),
        (DataConfig(image_dir="/x/my photos/"), "my-photos"),
        (DataConfig(tfrecords="gs://b/{split}-*.tfrecord"), "split-.tfrecord"),
        (DataConfig(dataset="/x/a.npz"), "a.npz"),
        (DataConfig(image_dir="/"), "images-"),
    ],
)
def test_names_of_files_come_from_the_data_set(data, name):
    assert eval_settings.name_of(data) == name
    EvaluationConfig(eval_name=name)


def test_what_cannot_have_an_effect_is_named_once(caplog):
    import flags

    asked = flags.config_from_flags(
        parsed(
            "--learning_rate=7",
            "--temperature=0.1",
            "--resnet_depth=18",
            "--valid_size=0.2",
            "--input=photos",  # of embed: the command line says so
        )
    )
    eval_settings.warn_of_no_effect(asked, TRAINED)
    (message,) = caplog.messages
    assert message.endswith(
        "from the run: --valid_size, --resnet_depth, --learning_rate"
    )


def test_the_runs_encoder_is_measured_on_another_data_set(run, noise):
    """By every kind of protocol; what the run wrote of itself stays."""
    before = (run / "results.json").read_bytes()
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={run}",
        f"--dataset={noise}",
        "--eval_split=test",
        "--protocols=knn,svm,features,label_free",
        "--image_size=24",
        "--seed=5",
        "--nobaselines",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"step 12, measured on {noise}" in done.stdout
    assert "40 labelled train images, 15 test images, 3 classes" in done.stdout
    document = json.loads((run / "results_noise.npz.json").read_text())
    assert document["dataset"] == str(noise) and document["seed"] == 5
    assert document["trained_on"] == "simclr_shapes/tiny"
    assert document["preprocessing"]["height"] == 24
    assert document["results"]["SimCLR h/knn"]["value"] > 0.9  # brightness tells
    assert not any("supervised" in key for key in document["results"])
    assert (run / "results.json").read_bytes() == before
    assert list((run / "tensorboard" / "noise.npz").iterdir())
    assert (run / "report_noise.npz.html").exists()


def test_features_of_two_data_sets_are_kept_apart(run, noise, data_dir):
    flags_of_both = ["--protocols=knn", "--probe_examples=30", "--eval_split=test"]
    shapes = measure(run, *flags_of_both)["results"]["SimCLR h/knn"]
    other = measure(run, *flags_of_both, f"--dataset={noise}")["results"][
        "SimCLR h/knn"
    ]
    again = measure(run, *flags_of_both)["results"]["SimCLR h/knn"]
    assert other["num_classes"] == 3 and shapes["num_classes"] == 10
    assert again["value"] == shapes["value"] and again["test_examples"] == 500


def test_a_finished_run_needs_its_images_no_more(run, noise, tmp_path):
    """Neither with its length in steps nor in epochs, which its results tell."""
    flags_here = [f"--dataset={noise}", "--eval_split=test", "--protocols=knn"]
    nowhere = f"--data_dir={tmp_path / 'nowhere'}"
    assert measure(run, *flags_here, nowhere)["step"] == 12
    path = run / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "train_steps": 0, "train_epochs": 2}))
    assert measure(run, *flags_here, nowhere)["step"] == 12


def test_a_run_of_unknown_length_is_measured_once(run, noise, tmp_path, caplog):
    (run / "results.json").unlink()
    path = run / "config.json"
    config = json.loads(path.read_text()) | {"train_steps": 0, "dataset": "mnist"}
    path.write_text(json.dumps(config))
    found = measure(
        run,
        f"--dataset={noise}",
        "--eval_split=test",
        "--protocols=knn",
        f"--data_dir={tmp_path / 'nowhere'}",
    )
    assert found["step"] == 12 and "cannot determine the run's last step" in caplog.text


def test_the_classifier_of_the_run_is_scored_on_its_own_images_only(run):
    """Of other images the classes may have the same number by chance."""
    config = run_folder.read_config(run)
    model, _ = restore_model(config, run)
    model.supervised_head = models.build_supervised_head(64, num_classes=10)
    asked = dataclasses.replace(config.evaluation, protocols=(), eval_steps=1)
    config = dataclasses.replace(config, evaluation=asked)
    opened = inputs.with_own_classifier(config, inputs.open_splits(config))
    found = runner.measure_model(Conditions.of(config, opened), model).results
    assert list(found) == ["Online linear head/supervised"]
    other = dataclasses.replace(opened, same_data=False, score_classifier=False)
    assert runner.measure_model(Conditions.of(config, other), model).results == {}


def test_another_set_without_the_default_split_is_told_which_flag(run, noise):
    with pytest.raises(ConfigError, match="it has: train .*name one with --eval_split"):
        measure(run, f"--dataset={noise}", "--protocols=knn")


def test_two_sets_of_one_name_are_not_mixed(run, tmp_path):
    for parent in ("a", "b"):
        dark_and_light(tmp_path / parent / "photos", count=4)
    import flags

    def look(parent):
        values = parsed(
            "--mode=eval",
            f"--model_dir={run}",
            f"--image_dir={tmp_path / parent / 'photos'}",
            "--eval_split=test",
            "--protocols=knn",
            "--nobaselines",
            "--noreport",
        )
        return workflows.run(flags.config_from_flags(values))

    assert look("a")["results"]["SimCLR h/knn"]["test_examples"] == 8
    assert look("a")
    with pytest.raises(ConfigError, match="pass an --eval_name of its own"):
        look("b")


def test_transfer_finds_its_sets_in_the_folder_that_eval_names(
    finished, data_dir, tmp_path
):
    """The run was trained from another folder, in which MNIST is not."""
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished[0], folder)
    shutil.copytree(data_dir, other)
    stand_ins.prepare("mnist", other, {"train": 20, "test": 5})
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        f"--data_dir={other}",
        "--protocols=transfer",
        "--transfer_datasets=mnist",
        "--nobaselines",
        "--noreport",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((folder / "results.json").read_text())["transfer"]["mnist"]
    assert "not_measured" not in record and 0 <= record["value"] <= 1
    (line,) = (folder / "evaluations.jsonl").read_text().splitlines()[-1:]
    assert json.loads(line)["evaluated_transfer_mnist_linear"] == record["value"]
