"""A small folder without labels: what a run of it logs, saves and measures."""

import dataclasses
import json
import logging
import types

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.data import held_out, opening
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs.checkpoints import list_checkpoints
from simclr_tf2.training import length, session

IMAGES, EPOCHS = 40, 20
NETWORK = {
    "mode": "pretrain",
    "resnet_depth": 10,
    "width_multiplier": 0.125,
    "stem": "stride2",
    "num_proj_layers": 2,
    "proj_out_dim": 16,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "learning_rate_scaling": "none",
    "warmup_epochs": 2.0,
    "train_epochs": float(EPOCHS),
    "strategy": "one_device",
    "progress": "plain",
    "protocols": (),
    "export_formats": (),
    "report": False,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "photos"
    folder.mkdir()
    for i in range(IMAGES):
        pixels = np.random.default_rng(i).integers(0, 255, [40, 44, 3], np.uint8)
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return folder


def config(photos, name, **settings):
    place = {
        "image_dir": str(photos),
        "data_dir": str(photos.parent / "data"),
        "model_dir": str(photos.parent / name),
    }
    return config_lib.from_flat({**NETWORK, **place, **settings})


def metrics(photos, name):
    return [json.loads(x) for x in (photos.parent / name / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def plain(photos):
    """Lines of metrics.jsonl of a run for which nothing was given."""
    workflows.run(config(photos, "plain"))
    return metrics(photos, "plain")


@pytest.fixture(scope="module")
def watched(photos):
    """The same of a run with held-out images, and what it said."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("simclr_tf2")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    settings = {"valid_size": 0.25, "monitor_epochs": 2.0, "best_metric": "valid_loss"}
    try:
        workflows.run(config(photos, "watched", **settings))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return metrics(photos, "watched"), records


def test_twenty_epochs_end_at_epoch_twenty(plain):
    """40 images in batches of 16 are two steps an epoch."""
    assert plain[-1]["step"] == 2 * EPOCHS
    epochs = [line["epoch"] for line in plain if "epoch" in line]
    assert epochs[0] == 0.5 and epochs[-1] == EPOCHS


def test_the_first_steps_are_logged_and_a_short_run_saves_and_looks_little(
    plain, photos
):
    steps = [line["step"] for line in plain if "loss" in line]
    assert steps[:3] == [1, 2, 5] and steps[-1] == 40
    looks = [line["step"] for line in plain if "std_z" in line]
    saved = [step for step, _ in list_checkpoints(photos.parent / "plain")]
    # not one of each an epoch, however slow the machine is
    assert looks[-1] == saved[0] == 40 and len(looks) < EPOCHS and len(saved) < 5


def test_what_was_fitted_is_what_the_run_is(plain, photos):
    found = json.loads((photos.parent / "plain" / "config.json").read_text())
    assert (found["image_size"], found["train_batch_size"]) == (32, 16)
    assert found["use_blur"] is False
    assert found["valid_size"] == 0.0


def test_a_finished_run_is_found_finished_by_the_same_command(plain, photos, capsys):
    before = (photos.parent / "plain" / "metrics.jsonl").read_bytes()
    assert workflows.run(config(photos, "plain"))["step"] == 40
    assert (photos.parent / "plain" / "metrics.jsonl").read_bytes() == before


def test_looks_are_taken_as_asked_and_no_labels_are_no_news(watched):
    lines, said = watched
    looks = [line["step"] for line in lines if "valid_loss" in line]
    steps_per_epoch = (IMAGES - held(lines, said)) // 16
    total = EPOCHS * steps_per_epoch
    assert lines[-1]["step"] == total
    assert looks == list(range(2 * steps_per_epoch, total + 1, 2 * steps_per_epoch))
    assert not any("kNN" in text for text in said)


def held(lines, said):
    (text,) = [text for text in said if text.startswith("held out: ")]
    return int(text.split()[2])


def test_held_out_images_are_never_trained_on(watched, photos):
    _, _said = watched
    data = config(photos, "watched", image_size=32).data
    split = opening.open_split(data, "train")
    train, out = held_out.hold_out(split, 0.25)
    assert out.num_examples == held(*watched) > 2
    paths = split.source.paths
    seen = {paths[i] for i in train.source.indices}
    assert not seen & {paths[i] for i in out.source.indices}


def test_the_checkpoint_with_the_lowest_held_out_loss_is_kept(watched, photos):
    lines, _ = watched
    found = {x["step"]: x["valid_loss"] for x in lines if "valid_loss" in x}
    best = min(found, key=found.get)
    place = photos.parent / "watched" / "best"
    record = json.loads((place / "best.json").read_text())
    assert record["step"] == best and record["value"] == found[best]
    assert record["metric"] == "valid_loss"
    assert [step for step, _ in list_checkpoints(place)] == [best]


def test_an_evaluation_measures_the_same_loss(watched, photos):
    """Of the last checkpoint; the best so far stays where it was chosen."""
    lines, _ = watched
    found = {x["step"]: x["valid_loss"] for x in lines if "valid_loss" in x}
    folder = photos.parent / "watched"
    (folder / "best" / "best.json").unlink()
    given = frozenset({"mode", "model_dir", "protocols", "best_metric"})
    settings = {"protocols": ("label_free",), "best_metric": "valid_loss"}
    asked = config_lib.from_flat(
        {"mode": "eval", "model_dir": str(folder), "strategy": "one_device", **settings}
    )
    workflows.run(dataclasses.replace(asked, given=given))
    record = json.loads((folder / "best" / "best.json").read_text())
    assert record["step"] == max(found)
    assert record["value"] == pytest.approx(found[max(found)], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no images of the run are held out"),
        ({"valid_size": 0.25, "monitor_epochs": 0.0}, "--monitor_epochs=0 means never"),
        ({"valid_size": 0.001}, "--valid_size=0.001 holds out 0 of the 40"),
    ],
)
def test_a_held_out_loss_that_cannot_be_is_refused_first(photos, settings, message):
    settings = {"best_metric": "valid_loss", **settings}
    with pytest.raises(ConfigError, match=message) as caught:
        workflows.run(config(photos, "refused", **settings))
    assert "\n" not in str(caught.value)
    assert not (photos.parent / "refused").exists()


def test_a_data_set_by_name_has_the_references_steps_and_the_same_last_epoch():
    """CIFAR-10 in batches of 512: 97,657 steps, of which 97 see whole batches."""
    cifar10 = types.SimpleNamespace(num_examples=50_000)
    flat = {"dataset": "cifar10", "train_epochs": 1000.0, "train_batch_size": 512}
    by_name = config_lib.from_flat(flat)
    own = config_lib.from_flat({**flat, "image_dir": "cifar10"})
    assert length.steps_of(by_name.training, by_name.data, cifar10) == 97_657
    assert length.steps_of(own.training, own.data, cifar10) == 97_000
    assert length.epoch_length(by_name.training, 97_657, 97) == pytest.approx(97.657)
    assert length.epoch_length(own.training, 97_000, 97) == pytest.approx(97)
    for total, asked in ((97_657, by_name), (97_000, own)):
        assert total / length.epoch_length(asked.training, total, 97) == pytest.approx(
            1000
        )
    assert length.images_per_epoch(by_name.training, by_name.data, cifar10) == 50_000
    assert (
        length.images_per_epoch(own.training, own.data, cifar10) == 97 * 512
    )  # the warm-up's epoch too
    assert by_name.data.valid_size is None


@pytest.mark.parametrize(
    ("given", "workers", "expected"),
    [
        ({}, False, (True, True, True)),
        ({"log_steps": 50}, False, (False, True, True)),  # the default, but asked for
        ({"checkpoint_epochs": 1.0}, False, (True, False, True)),
        ({"checkpoint_steps": 3}, False, (True, False, True)),
        ({"monitor_epochs": 1.0}, False, (True, True, False)),
        ({}, True, (False, False, False)),
    ],
)
def test_a_clock_decides_only_what_was_not_asked_for_and_for_one_worker(
    given, workers, expected
):
    asked = config_lib.from_flat({"image_dir": "photos", **given})
    asked = dataclasses.replace(asked, given=frozenset(given))
    found = session.cadence_of(
        asked, total_steps=90, steps_per_epoch=4, several_workers=workers
    )
    by_clock = (
        found.log_seconds > 0,
        found.checkpoint_spacing is not None,
        found.monitor_spacing is not None,
    )
    assert by_clock == expected
    assert found.checkpoint_every == given.get("checkpoint_steps", 4)
    assert (found.log_every, found.monitor_every) == (50, 4)


def test_a_data_set_by_name_is_saved_and_looked_at_each_epoch():
    found = session.cadence_of(
        config_lib.Config(), total_steps=90, steps_per_epoch=4, several_workers=False
    )
    assert found.checkpoint_spacing is found.monitor_spacing is None
    assert found.checkpoint_every == found.monitor_every == 4
