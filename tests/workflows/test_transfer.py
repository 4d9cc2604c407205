"""Transfer on stand-ins of TFDS sets and on folders, with a small random encoder."""

import dataclasses
import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import Config, DataConfig, EvaluationConfig
from simclr_tf2.data import image_sets, opening, transfer_splits
from simclr_tf2.data.opening import open_split
from simclr_tf2.data.transfer_sets import TRANSFER_SETS
from simclr_tf2.data.transfer_splits import parse_datasets
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.transfer import protocol as workflow
from simclr_tf2.evaluation.transfer.protocol import transfer, view_dataset
from simclr_tf2.results.transfer_table import render_transfer
from tests.support.drawn import in_class_colours
from tests.support.subjects import conditions_of
from tests.workflows import stand_ins

SIDE = 16
_example = stand_ins._example


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A ``--data_dir`` with four small sets, one of them not of the twelve."""
    folder = tmp_path_factory.mktemp("transfer")
    stand_ins.prepare("cifar10", folder, {"train": 60, "test": 21})
    stand_ins.prepare("mnist", folder, {"train": 20, "test": 5})
    three = {"train": 17, "validation": 7, "test": 13}
    stand_ins.prepare("oxford_flowers102", folder, three)
    return folder


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(5)
    images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(7, 5, strides=3, activation="relu")(images)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def config_for(folder, **changes):
    return Config(
        data=DataConfig(data_dir=str(folder), image_size=SIDE, **changes),
        evaluation=EvaluationConfig(eval_batch_size=13),
        seed=7,
    )


def test_names_folders_and_all_of_the_twelve():
    assert parse_datasets(["all"]) == (tuple(TRANSFER_SETS), {})
    names, folders = parse_datasets(["cars", " aircraft=/a=b ", "mnist", "cars"])
    assert names == ("cars", "aircraft", "mnist") and folders == {"aircraft": "/a=b"}
    names, folders = parse_datasets(["birdsnap=/b", "all"])
    assert sorted(names) == sorted(TRANSFER_SETS) and folders == {"birdsnap": "/b"}
    for items in ([], [""], ["=x"], ["cars="], ["a=1", "a=2"]):
        with pytest.raises(ConfigError, match="--transfer_datasets"):
            parse_datasets(items)


@pytest.mark.slow
def test_sets_of_the_paper_and_others_are_measured_with_their_own_splits(
    prepared, encoder, caplog
):
    # The run's own data must not leak into those of the sets.
    config = config_for(prepared, image_dir="/no/such", label_key="other")
    before = [w.numpy().copy() for w in encoder.weights]
    names = ("cifar10", "mnist", "flowers102", "birdsnap", "cars")
    with caplog.at_level(logging.WARNING):
        found = transfer(conditions_of(config), encoder, names=names)
    assert tuple(found) == names
    small = found["cifar10"]
    assert small["train_split"] == "train[:80%]+train[80%:]"
    assert (small["train_only_examples"], small["validation_examples"]) == (48, 12)
    assert (small["train_examples"], small["test_examples"]) == (60, 21)
    assert small["published"] == 0.953 and small["measure"] == "top1"
    assert small["feature_dim"] == 7 and small["seed"] == 7
    flowers = found["flowers102"]
    assert flowers["measure"] == "mean_per_class"
    assert flowers["value"] == flowers["mean_per_class"]
    assert flowers["validation_split"] == "validation"
    assert flowers["validation_examples"] == 7 and flowers["test_examples"] == 13
    assert (
        found["mnist"]["published"] is None and "last fifth" in found["mnist"]["note"]
    )
    assert found["birdsnap"]["value"] is None
    assert "birdsnap=FOLDER" in found["birdsnap"]["not_measured"]
    assert "--download" in found["cars"]["not_measured"]
    assert caplog.text.count("is not measured") == 2
    for weight, old in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    json.dumps(found)
    table = render_transfer({"linear": found})
    assert "mean of 3" in table and "Cars not measured" in table


def test_each_part_is_encoded_from_the_view_that_is_not_cropped(
    prepared, encoder, monkeypatch
):
    """By hand: decode, resize the whole (square) image, encode."""
    given = {}

    def record(train, validation, test, **settings):
        given.update(settings, parts=(train, validation, test))
        return {"value": 0.5, "measure": settings["metric"]}

    monkeypatch.setattr(workflow, "run_linear", record)
    config = config_for(prepared)
    found = transfer(conditions_of(config), encoder, names=["cifar10"])["cifar10"]
    assert found["value"] == 0.5 and "32" not in found["view"]
    assert given["metric"] == "top1" and given["seed"] == 7
    specs = ("train[:80%]", "train[80%:]", "test")
    for spec, part in zip(specs, given["parts"], strict=True):
        data = dataclasses.replace(config.data, dataset="cifar10")
        images, labels = opening.open_split(data, spec).arrays()
        resized = tf.image.resize(images / 255.0, [SIDE, SIDE], "bicubic")
        h = encoder(tf.clip_by_value(resized, 0, 1), training=False)
        # Sums of 16 products each way, in float32: eps is 1.2e-7.
        np.testing.assert_allclose(part.features, h, rtol=16 * 1.2e-7, atol=1e-5)
        np.testing.assert_array_equal(part.labels, labels)
        assert part.name == spec


def splits_of_cifar10(config):
    data = dataclasses.replace(config.data, dataset="cifar10")
    specs = ("train[:80%]", "train[80%:]", "test")
    return [opening.open_split(data, spec) for spec in specs]


@pytest.mark.slow
def test_kept_features_are_the_same_bits_and_are_computed_once(
    prepared, encoder, tmp_path, monkeypatch
):
    config = config_for(prepared, dataset="cifar10")
    config = dataclasses.replace(
        config,
        evaluation=dataclasses.replace(
            config.evaluation, transfer_datasets=("cifar10",)
        ),
    )
    fresh = workflow.encode_with(conditions_of(config), encoder, None)
    splits = splits_of_cifar10(config)
    first = workflow.measure_transfer(
        conditions_of(config), encoder, keep_features=tmp_path
    )
    kept = workflow.encode_with(conditions_of(config), encoder, tmp_path)
    for split in splits:
        np.testing.assert_array_equal(kept(split).features, fresh(split).features)
        np.testing.assert_array_equal(kept(split).labels, fresh(split).labels)
        assert isinstance(kept(split).features.base, np.memmap)
    assert len(list((tmp_path / "features").iterdir())) == 3

    # The view of the other protocols is no less wide at this size: other entries still.
    conditions_of(config).features_of(tmp_path)(encoder, splits[2], None)
    assert len(list((tmp_path / "features").iterdir())) == 4

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(extractor, "encoded_batches", refuse)
    again = workflow.measure_transfer(
        conditions_of(config), encoder, keep_features=tmp_path
    )
    assert (
        again["transfer"]["cifar10"]["value"] == first["transfer"]["cifar10"]["value"]
    )
    other = keras.models.clone_model(encoder)
    other.set_weights([w + 1 for w in encoder.get_weights()])
    with pytest.raises(AssertionError, match="computed again"):
        workflow.measure_transfer(conditions_of(config), other, keep_features=tmp_path)


def test_two_replicas_share_the_features_of_transfer(
    prepared, encoder, two_replicas, monkeypatch
):
    config, found = config_for(prepared), []
    run = two_replicas.run
    calls = []
    monkeypatch.setattr(
        two_replicas, "run", lambda *a, **k: calls.append(1) or run(*a, **k)
    )
    for strategy in (None, two_replicas):
        monkeypatch.setattr(extractor, "replicas", lambda _, s=strategy: s)
        of = workflow.encode_with(conditions_of(config), encoder, None)
        found.append(of(splits_of_cifar10(config)[2]))
    one, two = found
    assert calls and len(one) == len(two) == 21
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_allclose(one.features, two.features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 32), (34, 20), (20, 20), (60, 40), (10, 18)])
def test_a_view_is_the_centre_after_the_shorter_side_is_resized(tmp_path, size):
    pixels = np.random.default_rng(1).integers(0, 256, [*size, 3], np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(tf.io.encode_png(pixels).numpy())
    images = image_sets.open_image_set(
        DataConfig(data_dir=str(tmp_path / "d"), image_dir=str(tmp_path))
    )
    (batch,) = view_dataset(images.open("all"), batch_size=2, image_size=20)
    assert batch["image"].shape == (2, 20, 20, 3) and batch["label"].shape == (2,)
    whole = [side * 20 // min(size) for side in size]
    resized = tf.image.resize(pixels / 255.0, whole, "bicubic").numpy().clip(0, 1)
    top, left = ((side - 20) // 2 for side in whole)
    centre = resized[top : top + 20, left : left + 20]
    # The outermost pixels of an enlarged window do not see beyond it.
    inner = slice(4, -4)
    view = batch["image"][0].numpy()
    np.testing.assert_allclose(view[inner, inner], centre[inner, inner], atol=1e-5)


@pytest.mark.slow
def test_voc_is_multi_label_with_difficult_objects_ignored(
    tmp_path, encoder, monkeypatch
):
    monkeypatch.setattr(stand_ins, "_example", stand_ins.voc_example)
    sizes = {"train": 24, "validation": 15, "test": 18}
    stand_ins.prepare("voc/2007", tmp_path, sizes)
    config = config_for(tmp_path)
    data = dataclasses.replace(config.data, dataset="voc/2007")
    assert not open_split(data, "test").label_shape  # it has no feature "label"
    split = open_split(dataclasses.replace(data, label_key="labels"), "test")
    assert split.label_shape == (20,) and split.num_examples == 18
    assert split.class_names[0] == "aeroplane"
    batches = list(view_dataset(split, batch_size=7, image_size=SIDE))
    labels = np.concatenate([batch["label"] for batch in batches])
    kinds = {tuple(row[:3]) for row in labels.tolist()}
    # A sure class with the next one, sure or difficult, whichever the order on disk.
    assert kinds == {
        (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, -1, 0), (0, 1, -1), (-1, 0, 1)
    }  # fmt: skip
    assert labels.shape == (18, 20) and not labels[:, 3:].any()

    # Only three of the twenty classes occur here.
    of = workflow.encode_with(conditions_of(config), encoder, None)

    def three(split):
        features = of(split)
        return Features(features.features, features.labels[:, :3], features.name)

    found = transfer(conditions_of(config), encoder, names=["voc2007"], features=three)[
        "voc2007"
    ]
    assert found["measure"] == "map11" and 0 < found["value"] <= 1
    assert len(found["average_precision"]) == 3
    assert found["train_split"] == "train+validation" and found["published"] == 0.842
    json.dumps(found)


def test_a_folder_with_three_splits_stands_for_a_set_of_the_paper(tmp_path, encoder):
    folder = in_class_colours(
        tmp_path / "planes",
        {
            f"{split}/{name}": count
            for split, count in (("train", 9), ("val", 4), ("test", 5))
            for name in ("a", "q")
        },
    )
    found = transfer(
        conditions_of(config_for(tmp_path)),
        encoder,
        names=["aircraft"],
        folders={"aircraft": folder},
    )["aircraft"]
    assert found["value"] == 1.0  # the classes differ in colour
    assert found["measure"] == "mean_per_class" and found["published"] == 0.612
    sizes = ("train_only_examples", "validation_examples", "test_examples")
    assert [found[key] for key in sizes] == [18, 8, 10] and found["note"] == ""
    assert found["source"] == folder


def test_a_folder_without_validation_chooses_on_a_fifth_of_train(tmp_path, encoder):
    layout = {"train/a": 15, "train/q": 15, "test/a": 4, "test/q": 3}
    folder = in_class_colours(tmp_path / "mine", layout)
    found = transfer(
        conditions_of(config_for(tmp_path)),
        encoder,
        names=["mine"],
        folders={"mine": folder},
    )["mine"]
    sizes = ("train_only_examples", "validation_examples", "test_examples")
    assert [found[key] for key in sizes] == [24, 6, 7]
    assert found["measure"] == "top1" and found["published"] is None


def test_a_folder_of_classes_alone_tests_on_the_tenth_held_out(
    tmp_path, encoder, caplog
):
    folder = in_class_colours(tmp_path / "mine", {"a": 60, "q": 60})
    config = config_for(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = transfer(
            conditions_of(config), encoder, names=["mine"], folders={"mine": folder}
        )
    found = found["mine"]
    images = image_sets.open_image_set(
        dataclasses.replace(config.data, image_dir=folder)
    )
    held = len(images.splits["validation"])
    assert found["test_split"] == "validation" and found["test_examples"] == held > 0
    assert found["train_examples"] == 120 - held
    assert found["validation_examples"] == pytest.approx((120 - held) / 10, abs=1)
    assert "validation is test" in caplog.text and "validation is test" in found["note"]


def test_no_image_is_in_two_roles(tmp_path):
    folder = in_class_colours(tmp_path / "mine", {"a": 40, "q": 40})
    data = config_for(tmp_path).data
    opened = transfer_splits._open_folder(data, folder, None)
    paths = [s.source.paths for s in (opened.train, opened.validation, opened.test)]
    together = [path for part in paths for path in part]
    assert len(set(together)) == len(together) == 80


def test_what_is_wrong_stops_before_anything_is_measured(prepared, tmp_path, encoder):
    def never(split):
        raise AssertionError(f"encoded {split}")

    config = config_for(prepared)
    unlabelled = tmp_path / "flat"
    in_class_colours(tmp_path, {"flat": 3})
    cases = [
        (["cifar10", "cfar10"], {}, "did you mean cifar10"),
        (["cifar10", "mine"], {"mine": str(tmp_path / "nowhere")}, "nowhere"),
        (["cifar10", "mine"], {"mine": str(unlabelled)}, "splits train"),
        (["birdsnap", "cars"], {}, "no transfer data set can be measured: Birdsnap"),
    ]
    for names, folders, words in cases:
        with pytest.raises(ConfigError, match=words) as error:
            transfer(
                conditions_of(config),
                encoder,
                names=names,
                folders=folders,
                features=never,
            )
        assert "\n" not in str(error.value)


def test_an_encoder_that_moves_is_found_out(prepared, encoder):
    def moving(split):
        encoder.weights[0].assign_add(tf.ones_like(encoder.weights[0]))
        rng = np.random.default_rng(0)
        return Features(rng.normal(size=(20, 3)), np.arange(20) % 3)

    with pytest.raises(RuntimeError, match="frozen"):
        transfer(
            conditions_of(config_for(prepared)),
            encoder,
            names=["cifar10"],
            features=moving,
        )
