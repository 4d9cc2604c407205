"""The model card says what was exported, trained and measured."""

import json

import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from simclr_tf2.exports import model_card
from simclr_tf2.exports.keras_archive import OLDEST_FOR_LAYERS, OLDEST_FOR_OPERATIONS
from simclr_tf2.run_paths import RunFolder

RECORD = {"value": 0.5, "measure": "top1", "ci95": [0.4, 0.625], "test_split": "test"}


@pytest.fixture(scope="module")
def model():
    network = ModelConfig(resnet_depth=10, width_multiplier=0.125, proj_out_dim=5)
    return models.build_simclr(network, image_size=32, export=True, any_size=True)


def write(folder, model, training):
    exported = [
        (folder / name, f"load {name} -> h")
        for name in ("encoder.keras", "encoder_uint8.keras", "saved_model/7")
    ]
    run = RunFolder(folder)
    model_card.write_card(run, model, exported, training, image_size=(32, 40), step=7)
    return run.model_card.read_text(), json.loads(run.model_facts.read_text())


def test_both_files_tell_what_the_network_is(model, tmp_path):
    config = config_lib.from_flat(
        {"image_dir": "photos", "train_epochs": 7, "seed": 3, "log_steps": 5}
    )
    starts = [{"images": {"count": 1234}}]
    training = model_card.training_of(
        config.data.source,
        config_lib.to_flat(config),
        starts,
        {"SimCLR h/knn": RECORD},
    )
    card, facts = write(tmp_path, model, training)
    assert facts["input"]["shape"] == [None, 32, 40, 3]
    assert facts["representation_dim"] == 64 and facts["projection_dim"] == 5
    assert facts["endpoints"]["final_avg_pool"] == [None, 64]
    assert facts["lowest_keras_tested"] == {
        "encoder.keras": OLDEST_FOR_LAYERS,
        "encoder_uint8.keras": OLDEST_FOR_OPERATIONS,
    }
    assert set(facts["files"]) == {
        "encoder.keras",
        "encoder_uint8.keras",
        "saved_model/7",
    }
    given = {"image_dir": "photos", "train_epochs": 7, "seed": 3}
    assert facts["settings"] == given  # not log_steps: it changes no weights
    assert facts["training_images"] == 1234 and facts["dataset"] == "photos"
    for words in (
        "photos, 1,234 images",
        "- SimCLR h/knn: 50.0 % [40.0, 62.5] (top1 on test)",
        f"(Keras {OLDEST_FOR_LAYERS} or later)",
        "`--train_epochs`: 7",
        "The weights belong to whoever trained them.",
    ):
        assert words in card, words


def test_what_is_not_known_is_said(model, tmp_path):
    card, facts = write(tmp_path, model, model_card.Training())
    assert facts["training_images"] is None and facts["results"] == {}
    assert "Training images: not known." in card
    assert "Nothing was measured at this step." in card
