"""Which features of which view a protocol reads, and the rows beside it."""

import json
import shutil

import keras
import numpy as np
import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, workflows
from simclr_tf2.data import datasets
from simclr_tf2.evaluation import representations
from simclr_tf2.evaluation.baselines import random_encoder
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.inputs import open_splits
from tests.support.program_flags import parsed
from tests.support.subjects import conditions_of

PROBE = ["--probe_split=train[:120]", "--eval_batch_size=60", "--eval_steps=1"]


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """A copy of the finished run without features."""
    place = tmp_path_factory.mktemp("features_read") / "run"
    shutil.copytree(finished[0], place, ignore=shutil.ignore_patterns("features"))
    return place


def measure(folder, *arguments):
    import flags

    values = parsed(
        "--mode=eval",
        f"--model_dir={folder}",
        "--noreport",
        "--strategy=one_device",
        *PROBE,
        *arguments,
    )
    return workflows.run(flags.config_from_flags(values))


def entries(folder):
    """Features that are kept, by the geometry of their view."""
    keys = [
        json.loads(path.read_text())["key"]
        for path in (folder / "features").glob("*/entry.json")
    ]
    return {json.dumps(key["view"]): key for key in keys}


def test_svm_and_low_shot_read_feature5_of_the_whole_image_by_default(folder, capsys):
    found = measure(folder, "--protocols=knn,svm,low_shot")["results"]
    assert list(found) == [
        "SimCLR h/knn",
        "SimCLR feature5/svm",
        "SimCLR feature5/low_shot",
        "Random encoder h/knn",
        "Random encoder feature5/svm",
        "Random encoder feature5/low_shot",
        "PCA-256 of pixels/knn",
        "PCA-256 of pixels/svm",
        "PCA-256 of pixels/low_shot",
    ]
    for key, record in found.items():
        of_svm = record["protocol"] != "knn"
        assert record["features"] == ("feature5" if of_svm else "h"), key
        whole = record["preprocessing"]["window"].startswith("the whole image")
        assert whole == of_svm, key
        assert ("weights" in record) == key.startswith("SimCLR"), key
    assert found["SimCLR feature5/svm"]["feature_dim"] == 4 * 64  # 2x2 of 64 channels
    assert found["SimCLR h/knn"]["feature_dim"] == 64
    text = capsys.readouterr().out
    assert "SVM: feature5 (256 numbers) of the whole image squashed to 32x32" in text
    assert "low-shot: feature5 (256 numbers) of the whole image" in text
    assert len(entries(folder)) == 2


def test_h_of_the_centre_keeps_its_own_row(folder, capsys):
    found = measure(folder, "--protocols=svm", "--svm_features=h", "--nobaselines")
    (name,) = found["results"]
    record = found["results"][name]
    assert name == "SimCLR h/svm" and record["feature_dim"] == 64
    assert record["preprocessing"]["window"].startswith("centre")
    assert "SVM: h (64 numbers) of the centre, 32x32" in capsys.readouterr().out


@pytest.mark.parametrize("size", [24, 32, 96, (64, 96)])
def test_the_two_geometries_are_kept_under_two_keys(data_dir, size):
    config = config_lib.from_flat({"image_size": size})
    split = datasets.open_split("simclr_shapes/tiny", "test", data_dir=str(data_dir))
    views = [
        view(config.data, config.evaluation.eval_batch_size)
        for view in (extractor.eval_view, extractor.squashed_view)
    ]
    centre, whole = (json.dumps(view.key(split)) for view in views)
    assert centre != whole


def test_the_benchmarks_geometry_at_its_size_is_256_and_then_224():
    config = config_lib.from_flat({"image_size": 224})
    geometry = representations.squashed_geometry(config.data)
    assert geometry["shorter_side_first"] == 256
    assert (geometry["height"], geometry["width"]) == (224, 224)


def test_an_encoder_alone_has_feature5_too(folder, tmp_path):
    for name in ("config.json", "encoder.keras"):
        shutil.copy(folder / name, tmp_path / name)
    arguments = ["--protocols=svm", "--nobaselines"]
    alone = measure(tmp_path, *arguments)["results"]["SimCLR feature5/svm"]
    run = measure(folder, *arguments)["results"]["SimCLR feature5/svm"]
    assert alone["feature_dim"] == run["feature_dim"]
    # The same network: test images on a decision boundary may fall otherwise.
    assert alone["value"] == pytest.approx(run["value"], abs=2 / 60)


def test_the_best_checkpoint_can_be_chosen_by_the_svm(folder):
    arguments = ["--protocols=svm", "--nobaselines", "--eval_name=chosen"]
    found = measure(folder, *arguments, "--best_metric=svm")
    assert found["best"]["value"] == found["results"]["SimCLR feature5/svm"]["value"]


# The random encoder.


def test_the_random_encoder_has_open_residual_branches():
    config = config_lib.from_flat(
        {"image_size": 32, "resnet_depth": 18, "width_multiplier": 0.125}
    )
    encoder = random_encoder(conditions_of(config))
    gammas = {v.path: v for v in encoder.variables if v.path.endswith("gamma")}
    assert len(gammas) == 21  # the stem's, 2 of 8 blocks, 4 of projections
    assert all((gamma.numpy() == 1).all() for gamma in gammas.values())
    images = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    opened = encoder(images, training=False).numpy()
    for path, gamma in gammas.items():
        if path.endswith("batch_normalization_2/gamma"):
            gamma.assign(0 * gamma)
    closed = encoder(images, training=False).numpy()
    assert abs(opened - closed).max() > 0.1 * abs(closed).max()


def test_what_is_trained_from_random_weights_starts_with_closed_branches():
    keras.utils.set_random_seed(0)
    model = models.build_simclr(
        config_lib.from_flat({"resnet_depth": 10, "width_multiplier": 0.125}).model,
        image_size=32,
    )
    last = [
        v.numpy()
        for v in model.backbone.variables
        if v.path.endswith("batch_normalization_2/gamma")
    ]
    assert len(last) == 4 and not np.any(np.concatenate(last))


# --probe_examples.


def test_a_cap_on_protocols_of_papers_is_said_everywhere(folder, caplog, capsys):
    arguments = ["--protocols=knn,weighted_knn", "--nobaselines"]
    found = measure(folder, *arguments, "--probe_examples=50", "--eval_name=capped")
    warned = [r.message for r in caplog.records if "--probe_examples=50:" in r.message]
    assert len(warned) == 1
    assert "weighted_knn learn" in warned[0] and " knn," not in warned[0]
    assert "--probe_examples=120 to compare" in warned[0]
    record = found["results"]["SimCLR h/weighted_knn"]
    assert record["train_examples"] == 50
    assert record["train_examples_available"] == 120
    assert record["capped_by"] == "--probe_examples=50"
    assert "capped_by" not in found["results"]["SimCLR h/knn"]  # of no paper
    assert "weighted kNN: learned from 50 of 120 images" in capsys.readouterr().out


def test_nothing_is_said_where_all_images_are_learned_from(folder, caplog, capsys):
    arguments = ["--protocols=weighted_knn", "--nobaselines", "--eval_name=whole"]
    found = measure(folder, *arguments, "--probe_examples=120")
    assert "probe_examples" not in caplog.text
    assert "capped_by" not in found["results"]["SimCLR h/weighted_knn"]
    assert "learned from" not in capsys.readouterr().out


def test_the_features_benchmark_is_marked_as_capped(folder, capsys):
    found = measure(
        folder,
        "--protocols=features",
        "--features_epochs=1",
        "--features_milestones=",
        "--probe_examples=50",
        "--eval_name=depths",
    )
    records = found["results"].values()
    assert {r["capped_by"] for r in records} == {"--probe_examples=50"}
    assert "features: learned from 50 of 120 images" in capsys.readouterr().out


def test_the_cap_is_said_before_training(data_dir, caplog):
    config = config_lib.from_flat(
        {
            "dataset": "simclr_shapes/tiny",
            "data_dir": str(data_dir),
            "train_split": "unlabeled",
            "probe_split": "train",
            "eval_split": "test",
            "protocols": ("svm", "logreg"),
            "probe_examples": 77,
        }
    )
    open_splits(config)
    assert "--probe_examples=77: svm learn" in caplog.text
