"""VOC2007's form, by its name, in the protocols of the benchmark page."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening
from simclr_tf2.errors import ConfigError
from tests import command_line
from tests.workflows import stand_ins


def example(features, n):
    """A class of its own and the next one, difficult in every other image."""
    count = features["labels"].feature.num_classes
    rng = np.random.default_rng(n)
    sure, other = [n % count], [(n + 1) % count]
    return {
        "image": rng.integers(0, 256, [40 + n % 5, 50, 3], np.uint8),
        "image/filename": f"{n}.jpg",
        "objects": [],
        "labels": sure + other,
        "labels_no_difficult": sure + (other if n % 2 else []),
    }


def test_what_is_read_of_a_record_is_part_of_its_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr(stand_ins, "_example", example)
    stand_ins.prepare("voc/2007", tmp_path, {"test": 9})
    data = DataConfig(dataset="voc/2007", data_dir=str(tmp_path))
    keys = ("label", "labels", "labels_no_difficult")
    splits = [
        opening.open_split(dataclasses.replace(data, label_key=key), "test")
        for key in keys
    ]
    assert len({split.source.fingerprint for split in splits}) == 3
    shards = dataclasses.replace(splits[0].source.shards, image_key="mask")
    other = dataclasses.replace(splits[0].source, shards=shards)
    assert other.fingerprint != splits[0].source.fingerprint
    nothing = dataclasses.replace(data, label_key="labels", image_key="mask")
    with pytest.raises(ConfigError, match="no feature `mask`.*--image_key"):
        opening.open_split(nothing, "test")


def test_svm_on_voc_by_the_command_line(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(stand_ins, "_example", example)
    sizes = {"train": 60, "validation": 40, "test": 50}
    stand_ins.prepare("voc/2007", tmp_path / "data", sizes)
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        f"--data_dir={tmp_path / 'data'}",
        "--dataset=voc/2007",
        "--label_key=labels",
        "--train_split=train+validation",
        "--eval_split=test",
        "--protocols=svm",
        "--eval_name=voc07",
        "--nobaselines",
        "--noreport",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "results_voc07.json").read_text())
    assert found["dataset"] == "voc/2007"
    record = found["results"]["SimCLR feature5/svm"]
    assert record["train_split"] == "train+validation"
    assert record["test_examples"] == 50
    assert 0.9 < record["value"] <= 1  # image n is the same in all splits
    assert "measured on voc/2007" in done.stdout
    assert record["features"] == "feature5" and record["feature_dim"] == 4 * 64
    assert record["preprocessing"]["window"] == "the whole image, aspect not kept"
    assert "SVM: feature5 (256 numbers) of the whole image squashed to" in done.stdout
    kept_features = {
        len(labels): np.load(entry / "features.npy")
        for entry in (folder / "features").iterdir()
        if (labels := np.load(entry / "labels.npy")).ndim == 2
    }
    expected = feature5_of_whole_images(folder, tmp_path / "data")
    np.testing.assert_allclose(kept_features[50], expected, rtol=1e-4, atol=1e-5)


def feature5_of_whole_images(folder, data_dir):
    """The last map (2x2) of encoder.keras on images whose aspect is not kept."""
    data = DataConfig(dataset="voc/2007", data_dir=str(data_dir), label_key="labels")
    split = opening.open_split(data, "test")
    views = []
    for example in split.as_dataset():
        image = split.source.decode(example)
        rows, columns, _ = image.shape
        assert 40 <= rows < columns == 50  # the shorter side first, then both
        for sides in ((32, 32 * columns // rows), (32, 32)):
            image = tf.image.resize(image, sides, method="bicubic")
        views.append(image / 255)
    encoder = keras.models.load_model(folder / "encoder.keras")
    last = keras.Model(encoder.input, encoder.get_layer("final_avg_pool").input)
    maps = last(tf.clip_by_value(tf.stack(views), 0, 1), training=False).numpy()
    assert maps.shape == (50, 2, 2, 64)
    return maps.reshape(50, -1)
