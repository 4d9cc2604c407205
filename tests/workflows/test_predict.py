"""--mode=predict: labels of new images in a file, from a fine-tuned run."""

import csv
import json
import re
import shutil

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import models, workflows
from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.classifier_file import save_classifier
from simclr_tf2.workflows.predict import most_probable
from tests import command_line
from tests.support import drawn
from tests.support.finetuning import FINETUNE
from tests.support.program_flags import parsed

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier that tells the strongest colour of a plain image."""
    keras.utils.set_random_seed(0)
    network = ModelConfig(resnet_depth=10, width_multiplier=0.125)
    model = models.build_simclr(network, image_size=32, num_classes=3, export=True)
    plain = np.eye(3, dtype=np.float32)[:, None, None, ::-1] * np.ones((3, 32, 32, 3))
    h = model.representation(plain.astype(np.float32)).numpy()
    weights = np.linalg.pinv(h - h.mean(axis=0)) * 20
    kernel, bias = model.supervised_head.variables
    kernel.assign(weights)
    bias.assign(-h.mean(axis=0) @ weights)
    folder = tmp_path_factory.mktemp("classifier")
    return save_classifier(
        models.build_classifier(model),
        folder / "classifier.keras",
        image_size=32,
        class_names=CLASSES,
    )


@pytest.fixture
def photos(tmp_path):
    """Two plain images of each colour, in folders of their names, and a broken one."""
    for channel, name in enumerate(("red", "green", "blue")):
        (tmp_path / "new" / name).mkdir(parents=True)
        for i, value in enumerate((255, 250)):
            pixels = np.zeros([40, 36, 3], np.uint8)
            pixels[..., channel] = value
            file = tmp_path / "new" / name / f"{i}.png"
            file.write_bytes(tf.io.encode_png(pixels).numpy())
    (tmp_path / "new" / "red" / "broken.png").write_bytes(b"\x89PNG nothing")
    return tmp_path / "new"


def predict(classifier, place, tmp_path, *more):
    values = parsed(
        "--mode=predict",
        f"--checkpoint={classifier}",
        f"--input={place}",
        f"--data_dir={tmp_path / 'data'}",
        *more,
    )
    return workflows.run(flags.config_from_flags(values))


def test_labels_of_a_folder_as_csv(classifier, photos, tmp_path, capsys, caplog):
    output = tmp_path / "labels.csv"
    found = predict(classifier, photos, tmp_path, f"--output={output}", "--top_k=2")
    assert found["accuracy"] == 1 and found["images"] == 6
    assert found["classes"] == {"red": 2, "green": 2, "blue": 2}
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    for row in rows:
        assert row["label"] == row["true_label"] == row["name"].split("/")[0]
        assert 1 >= float(row["probability"]) >= float(row["probability_2"]) >= 0
    assert "broken.png" in caplog.text
    assert "accuracy: 100.0 % of 6 labelled images" in capsys.readouterr().out


def test_jsonl_and_parquet_say_the_same(classifier, photos, tmp_path):
    for name in ("labels.jsonl", "labels.parquet"):
        output = f"--output={tmp_path / name}"
        predict(classifier, photos, tmp_path, output, "--top_k=9")
    lines = (tmp_path / "labels.jsonl").read_text().splitlines()
    table = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert len(lines) == len(table) == 6
    for line, row in zip(map(json.loads, lines), table, strict=True):
        assert line["name"] == row["name"]
        labels = [one["label"] for one in line["predictions"]]
        assert labels == row["labels"] and sorted(labels) == list(CLASSES)
        assert row["label"] == labels[0]
        given = [one["probability"] for one in line["predictions"]]
        np.testing.assert_allclose(given, row["probabilities"], atol=1e-6)
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_one_file_and_a_folder_of_other_names(classifier, photos, tmp_path, capsys):
    predict(classifier, photos / "green" / "0.png", tmp_path)
    assert "0.png: green" in capsys.readouterr().out
    (photos / "red").rename(photos / "holidays")
    found = predict(classifier, photos, tmp_path)
    assert "accuracy" not in found


def test_a_manifest_and_an_array_file_with_labels(classifier, photos, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\nnew/blue/0.png\nnew/red/1.png\n")
    assert predict(classifier, manifest, tmp_path)["classes"] == {"blue": 1, "red": 1}
    images = np.zeros([2, 32, 32, 3], np.uint8)
    images[..., 1] = 255
    np.savez(tmp_path / "a.npz", images=images)
    found = predict(classifier, tmp_path / "a.npz", tmp_path)
    assert found["classes"] == {"green": 2} and "accuracy" not in found
    # The labels of the list count, not the names of folders.
    manifest = tmp_path / "labelled.csv"  # a process opens each list once
    manifest.write_text(
        "path,label\nnew/blue/0.png,red\nnew/red/0.png,red\nnew/red/1.png,blue\n"
    )
    output = tmp_path / "labels.csv"
    found = predict(classifier, manifest, tmp_path, f"--output={output}")
    assert found["accuracy"] == pytest.approx(1 / 3)
    with open(output, newline="") as file:
        assert [row["true_label"] for row in csv.DictReader(file)] == [
            "red",
            "red",
            "blue",
        ]
    one = photos / "blue" / "0.png"
    assert "accuracy" not in predict(classifier, one, tmp_path)


def test_the_range_of_the_pixels_comes_from_the_file(classifier, tmp_path):
    pixels = np.full([32, 32, 3], 2000, np.uint16)
    pixels[..., 1] = 2100
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(pixels).numpy())
    whole = keras.models.load_model(classifier)
    path = save_classifier(
        whole.get_layer("classifier"),
        tmp_path / "wide.keras",
        image_size=32,
        class_names=CLASSES,
        pixel_range="0,4095",
    )
    out = [f"--output={tmp_path / 'a.jsonl'}"]
    predict(path, tmp_path / "a.png", tmp_path, *out)
    found = json.loads((tmp_path / "a.jsonl").read_text())["predictions"][0]
    images = pixels[None].astype(np.float32) / 4095
    expected = np.asarray(whole.get_layer("classifier")(images))[0]
    assert found["label"] == CLASSES[expected.argmax()]
    assert found["probability"] == pytest.approx(expected.max(), abs=1e-3)
    predict(path, tmp_path / "a.png", tmp_path, *out, "--pixel_range=0,65535")
    dark = json.loads((tmp_path / "a.jsonl").read_text())["predictions"][0]
    assert dark != found


def test_a_given_size_that_is_not_read_is_said(classifier, photos, tmp_path, caplog):
    predict(classifier, photos, tmp_path, "--image_size=64")
    assert "--image_size=64 is not read" in caplog.text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"input": "nowhere/at/all"}, "there is no such path"),
        ({"checkpoint": "nowhere"}, "no classifier at nowhere"),
    ],
)
def test_what_cannot_be_read_is_said(classifier, photos, tmp_path, given, text):
    with pytest.raises(ConfigError, match=text) as caught:
        predict(
            given.get("checkpoint", classifier), given.get("input", photos), tmp_path
        )
    assert "\n" not in str(caught.value)


def test_equally_probable_classes_keep_their_order():
    found = most_probable(["a"], np.array([[0.4, 0.2, 0.4]]), CLASSES, k=2)
    assert found.labels == [["blue", "red"]]
    assert found.probabilities.tolist() == [[0.4, 0.4]]


def accuracy_by_predict(run, data_dir, capsys, *more):
    code, stderr = command_line.main(
        "--mode=predict",
        f"--checkpoint={run}",
        "--input=simclr_shapes/tiny:test",
        f"--data_dir={data_dir}",
        *more,
    )
    assert code == 0, stderr[-2000:]
    said = capsys.readouterr().out
    return float(re.search(r"accuracy: ([\d.]+) % of 500 labelled", said)[1]) / 100


def test_a_fine_tuned_run_labels_its_test_images_as_it_was_scored(
    finished, data_dir, tmp_path, capsys
):
    run = tmp_path / "classifier"
    code, stderr = command_line.main(
        *FINETUNE,
        f"--model_dir={run}",
        f"--data_dir={data_dir}",
        f"--checkpoint={finished[0]}",
        "--export_formats=classifier",
    )
    assert code == 0, stderr[-2000:]
    (record,) = json.loads((run / "results.json").read_text())["results"].values()
    output = tmp_path / "labels.jsonl"
    found = accuracy_by_predict(run, data_dir, capsys, f"--output={output}")
    assert found == pytest.approx(record["value"], abs=0.0011)  # a tie in float32
    first = json.loads(output.read_text().splitlines()[0])
    assert first["name"] == "simclr_shapes/tiny:test/0"
    names = json.loads((run / "classes.json").read_text())
    assert {first["true_label"], first["predictions"][0]["label"]} <= set(names)
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={run}",
        f"--data_dir={data_dir}",
        "--protocols=logreg",
        "--classifier_from=logreg",
    )
    assert code == 2 and "would replace the fine-tuned classifier" in stderr


@pytest.mark.parametrize("protocol", ["logreg", "linear"])
def test_the_classifier_of_a_protocol_labels_as_it_was_scored(
    finished, data_dir, tmp_path, capsys, protocol
):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    code, stderr = command_line.main(
        "--mode=predict", f"--checkpoint={run}", "--input=photos"
    )
    assert code == 2 and "holds an encoder and no classifier" in stderr
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={run}",
        f"--data_dir={data_dir}",
        f"--protocols={protocol}",
        f"--classifier_from={protocol}",
        "--nobaselines",
        "--noreport",
    )
    assert code == 0, stderr[-2000:]
    found = json.loads((run / "results.json").read_text())["results"]
    record = found[f"SimCLR h/{protocol}"]
    assert "classifier" not in record
    value = accuracy_by_predict(run, data_dir, capsys)
    assert value == pytest.approx(record["value"], abs=0.0041)  # rounding of h
    assert (run / "classifier_saved_model").is_dir()


def test_the_classifier_of_other_images_has_a_file_of_its_own(
    finished, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    drawn.dark_and_light(tmp_path / "brightness")
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={run}",
        f"--image_dir={tmp_path / 'brightness'}",
        "--probe_split=train",
        "--eval_split=test",
        "--protocols=logreg",
        "--classifier_from=logreg",
        "--nobaselines",
        "--noreport",
    )
    assert code == 0, stderr[-2000:]
    assert not (run / "classifier.keras").exists()
    document = json.loads((run / "results_brightness.json").read_text())
    code, stderr = command_line.main(
        "--mode=predict",
        f"--checkpoint={run / 'classifier_brightness.keras'}",
        f"--input={tmp_path / 'brightness' / 'test'}",
        f"--output={tmp_path / 'labels.csv'}",
    )
    assert code == 0, stderr[-2000:]
    value = document["results"]["SimCLR h/logreg"]["value"]
    said = f"accuracy: {100 * value:.1f} % of 24 labelled images"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "more", "text"),
    [
        ("labelled", ["--export_formats=keras"], "among --export_formats"),
        ("photos", [], "needs labelled images"),
    ],
)
def test_a_classifier_that_cannot_be_exported_stops_before_training(
    tmp_path, images, more, text
):
    drawn.photos(tmp_path / "photos", 12)
    drawn.in_class_colours(tmp_path / "labelled", {"cat": 12, "dog": 12})
    code, stderr = command_line.main(
        "--mode=pretrain",
        f"--image_dir={tmp_path / images}",
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={tmp_path / 'data'}",
        "--classifier_from=logreg",
        *more,
    )
    assert code == 2 and text in stderr.strip().splitlines()[-1], stderr[-600:]
    assert not (tmp_path / "run").exists()
