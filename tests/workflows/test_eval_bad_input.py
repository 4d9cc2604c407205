"""Splits, runs and settings that cannot be measured: one line that says what to do."""

import importlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.runs import checkpoints
from tests import command_line
from tests.support.program_flags import parsed
from tests.support.tiny_runs import QUIET, measure


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """A copy of the finished run."""
    place = tmp_path_factory.mktemp("bad") / "run"
    shutil.copytree(finished[0], place)
    return place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocols=knn", "--probe_split=unlabeled"], "need labels.*--probe_split"),
        (["--protocols=svm", "--probe_split=unlabeled"], "need labels.*--probe_split"),
        (["--protocols=knn", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=weighted_knn", "--probe_split=train[:1]"], "of one class"),
        (["--protocols=logreg", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=linear", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=svm", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=low_shot", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=features", "--probe_split=train[:1]"], "images of one class"),
        (["--protocols=svm", "--probe_split=train[:9]"], "fewer than the 3"),
        (["--protocols=logreg_sweep", "--probe_split=train[:2]"], "two images"),
        (["--protocols=knn", "--eval_split=tset"], "test"),
        (["--protocols=knn", "--eval_split=test[:0]"], "no image|empty|0 images"),
        (["--protocols=knn", "--knn_k=0"], "--knn_k must be"),
        (["--protocols=knn", "--knn_k="], "--knn_k must be"),
        (["--protocols=knn", "--knn_k=ten"], "--knn_k must be.*ten"),
        (["--protocols=knn", "--knn_temperature=0"], "--knn_temperature must be"),
        (["--protocols=knn", "--best_metric=svm"], "add svm to --protocols=knn"),
        (["--protocols=knn", "--best_metric=loss"], "--best_metric must be one of"),
    ],
)
def test_what_cannot_be_scored_is_refused(folder, arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        measure(folder, *arguments)
    assert "\n" not in str(caught.value)
    assert not (folder / "results_bad.json").exists()


@pytest.mark.parametrize(
    ("protocols", "message"),
    [
        ("knn", "the run has no classifier of its own"),
        ("label_free", "no labelled images are read"),
    ],
)
def test_a_best_metric_that_is_not_there_is_refused_before_measuring(
    folder, monkeypatch, protocols, message
):
    module = importlib.import_module("simclr_tf2.workflows.evaluate")
    for name in ("measure_model", "baseline_rows"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=message) as caught:
        measure(folder, f"--protocols={protocols}", "--best_metric=supervised")
    assert "\n" not in str(caught.value)


def test_few_images_and_missing_classes_are_scored_and_told(finished, tmp_path, caplog):
    """8 train and 7 test images: no split has all ten classes, k is above the bank."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    found = measure(
        folder,
        "--protocols=knn,weighted_knn,logreg,linear,low_shot",
        "--probe_split=train[:8]",
        "--eval_split=test[:7]",
        "--eval_batch_size=3",
    )
    for name in ("knn", "weighted_knn", "logreg", "linear", "low_shot"):
        features = "feature5" if name == "low_shot" else "h"
        record = found["results"][f"SimCLR {features}/{name}"]
        assert (record["train_examples"], record["test_examples"]) == (8, 7)
        assert 0 <= record["value"] <= 1
        assert record["value"] * 7 == pytest.approx(round(record["value"] * 7), abs=1)
    assert found["results"]["SimCLR h/weighted_knn"]["k_used"][200] == 8
    assert "k=200 clipped to the 8 training images" in caplog.text
    assert "no training image" in caplog.text


def test_a_checkpoint_of_another_shape_is_refused(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    config = json.loads((folder / "config.json").read_text())
    config["width_multiplier"] = 0.25
    (folder / "config.json").write_text(json.dumps(config))
    code, stderr = command_line.main(*QUIET, f"--model_dir={folder}")
    lines = stderr.strip().splitlines()
    assert code == 2 and "Traceback" not in stderr
    assert lines[-1].startswith("error: ") and "no checkpoint that fits" in lines[-1]
    assert "32" in stderr or "is [" in stderr  # which weight, and its shapes


def test_features_that_are_not_finite_are_refused(finished, tmp_path):
    """A diverged network: one weight is NaN."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    spoil(folder / "ckpt-12")
    code, stderr = command_line.main(*QUIET, f"--model_dir={folder}", "--protocols=knn")
    lines = stderr.strip().splitlines()
    assert code == 2 and "Traceback" not in stderr
    assert lines[-1].startswith("error: ") and "not finite" in lines[-1]
    assert "earlier checkpoint" in lines[-1]
    assert not list((folder / "features").glob("*/features.npy.partial"))


def spoil(prefix):
    """Rewrite a checkpoint with NaN in its last convolution."""
    reader = tf.train.load_checkpoint(str(prefix))
    names = reader.get_variable_to_shape_map()
    values = {n: reader.get_tensor(n) for n in names if n.startswith("model/")}
    name = max(n for n in values if "kernel" in n and "head" not in n)
    values[name] = np.full_like(values[name], np.nan)
    tracked = {
        n.removeprefix("model/").split("/")[0]: tf.Variable(v)
        for n, v in values.items()
    }
    for path in prefix.parent.glob(f"{prefix.name}.data*"):
        path.unlink()
    tf.train.Checkpoint(model=tf.train.Checkpoint(**tracked)).write(str(prefix))


def test_a_frozen_protocol_that_moves_the_backbone_is_stopped(folder, monkeypatch):
    """The guard of the whole story: broken on purpose by a dishonest extraction."""
    make = extractor.make_extractor

    def dishonest(devices, keep, **settings):
        def extract(encoder, split, limit):
            found = make(devices, None, **settings)(encoder, split, limit)
            statistic = next(w for w in encoder.weights if "moving_mean" in w.path)
            statistic.assign_add(1e-7 + 0 * statistic)
            return found

        return extract

    monkeypatch.setattr(extractor, "make_extractor", dishonest)
    with pytest.raises(RuntimeError, match="changed 1 of .*moving_mean"):
        measure(folder, "--protocols=knn")
    assert not (folder / "results_bad.json").exists()


def test_an_untrained_network_is_refused(finished, tmp_path, monkeypatch):
    """ckpt-0 holds a head that has learned nothing, and so does its encoder."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    for step, prefix in checkpoints.list_checkpoints(folder):
        for path in folder.glob(f"ckpt-{step}.*"):
            suffix = path.name.removeprefix(f"ckpt-{step}")
            if step == 12:
                path.rename(folder / f"ckpt-0{suffix}")
            else:
                path.unlink()
        assert prefix
    with pytest.raises(ConfigError, match="untrained network .ckpt-0."):
        measure(folder, "--protocols=knn", "--nowatch")


def test_without_a_head_in_the_checkpoint_no_classifier_is_reported(folder):
    found = measure(folder, "--protocols=knn", "--probe_examples=50")
    assert checkpoints.num_classes(folder) is None
    assert list(found["results"]) == ["SimCLR h/knn"]
    (folder / "results_bad.json").unlink()


def test_every_record_says_what_it_rests_on(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    names = (
        "logreg,knn,weighted_knn,logreg_sweep,logreg_adam,linear,svm,low_shot,features"
    )
    found = measure(
        folder,
        f"--protocols={names},label_free",
        "--probe_examples=150",
        "--eval_steps=2",
        "--eval_batch_size=40",
    )
    assert {"step", "weights"} == set(found["checkpoint"]) and found["seed"] == 0
    assert len(found["checkpoint"]["weights"]) == 32
    assert found["compute"] == {
        "dtype": "float32",
        "tensor_float_32": False,
        "replicas": 1,
    }
    geometry = found["preprocessing"]
    assert (geometry["height"], geometry["width"], geometry["channels"]) == (32, 32, 3)
    assert geometry["window_of_the_largest_possible_side"] == 1.0  # up to 32 pixels
    assert {"tensorflow", "keras", "numpy", "scikit-learn", "simclr_tf2"} <= set(
        found["environment"]
    )
    chosen = {
        "logreg": ("C",),
        "knn": ("k", "metric"),
        "weighted_knn": ("k_used", "temperature", "metric", "votes"),
        "logreg_sweep": ("lambda", "validation_scores", "validation_examples"),
        "logreg_adam": ("weight_decay", "validation_scores", "reported"),
        "linear": ("learning_rate", "epochs"),
        "svm": ("costs_chosen", "folds"),
        "low_shot": ("shots", "samples"),
        "features": ("learning_rate", "dim"),
    }
    assert {r["protocol"] for r in found["results"].values()} == set(chosen)
    for record in found["results"].values():
        assert record["train_examples"] == 150 and record["test_examples"] == 80
        assert {"train_split", "test_split", "seed", "measure", "ci95"} <= set(record)
        assert len(record["weights"]) == 32
        assert set(chosen[record["protocol"]]) <= set(record), record["protocol"]
    assert found["label_free"]["weights"] == found["checkpoint"]["weights"]


def test_several_labels_an_image_go_to_no_single_label_protocol(tmp_path):
    """Refused by name before anything is trained, for every such protocol."""
    rows = ["path,red,round,split"]
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 255, [20, 20, 3], np.uint8)
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        rows.append(f"{i}.png,{i % 2},{i % 3 and 1},{'train' if i < 8 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    names = "knn weighted_knn logreg logreg_sweep logreg_adam linear features"
    for protocol in names.split():
        arguments = [
            *command_line.TINY,
            f"--manifest={tmp_path / 'labels.csv'}",
            "--label_columns=red,round",
            "--train_split=train",
            "--probe_split=train",
            "--train_batch_size=4",
            f"--protocols={protocol}",
            f"--model_dir={tmp_path / 'run'}",
            f"--data_dir={tmp_path / 'data'}",
            "--strategy=one_device",
            "--nolineareval_while_pretraining",
        ]
        import flags

        with pytest.raises(ConfigError, match="yes-or-no labels an image") as caught:
            workflows.run(flags.config_from_flags(parsed(*arguments)))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_encoder_alone_has_no_best_checkpoint_and_is_not_waited_for(
    finished, tmp_path, caplog
):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "encoder.keras"):
        shutil.copy(finished[0] / name, folder / name)
    arguments = ["--protocols=knn", "--probe_examples=50", "--eval_steps=1"]
    found = measure(folder, *arguments, "--best_metric=knn")
    assert list(found["results"]) == ["SimCLR h/knn"] and "best" not in found
    assert not (folder / "best_bad").exists()
    assert caplog.text.count("--best_metric=knn has no effect") == 1
