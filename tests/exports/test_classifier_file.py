"""classifier.keras: uint8 images of any size to probabilities of named classes."""

import json

import keras
import numpy as np
import pytest

from simclr_tf2 import models
from simclr_tf2.augmentations import eval_view
from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.classifier_file import load_classifier, save_classifier
from tests import command_line

CLASSES = ("cat", "dog & <b>", "Ärger")
PROGRAM = """
import json, sys, zipfile
import keras, numpy as np
path, pixels, out = sys.argv[1:]
found = keras.models.load_model(path)(np.load(pixels))
np.save(out, np.asarray(found))
print(json.loads(zipfile.ZipFile(path).read("classes.json"))["classes"])
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
"""


@pytest.fixture(scope="module", params=[0, 1], ids=["h", "first layer of g"])
def trained(request):
    """A network with a classifier on h, or on the first layer of the head."""
    keras.utils.set_random_seed(1)
    network = ModelConfig(
        resnet_depth=10, width_multiplier=0.125, ft_proj_selector=request.param
    )
    model = models.build_simclr(
        network, image_size=40, num_classes=3, export=True, any_size=True
    )
    random = np.random.default_rng(0)
    for variable in model.supervised_head.variables:
        variable.assign(random.standard_normal(variable.shape))
    return model


def test_a_new_process_without_this_library_gives_the_probabilities(trained, tmp_path):
    path = save_classifier(
        models.build_classifier(trained),
        tmp_path / "classifier.keras",
        image_size=40,
        class_names=CLASSES,
    )
    pixels = np.random.default_rng(3).integers(0, 256, (2, 70, 53, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    out = tmp_path / "out.npy"
    said = command_line.python(PROGRAM, path, tmp_path / "pixels.npy", out)
    assert str(list(CLASSES)) in said
    views = np.stack([eval_view(image, image_size=40) for image in pixels])
    logits = trained.finetune_logits(views).numpy().astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(out), expected, atol=2e-5)
    assert np.ptp(expected, axis=1).min() > 0.05


def test_a_file_gives_back_network_size_channels_and_names(trained, tmp_path):
    path = tmp_path / "classifier.keras"
    network = models.build_classifier(trained)
    save_classifier(network, path, image_size=(40, 48), class_names=CLASSES)
    found = load_classifier(path)
    assert (found.image_size, found.channels) == ((40, 48), 3)
    assert found.class_names == CLASSES
    images = np.random.default_rng(0).random((2, 40, 48, 3), np.float32)
    probabilities = found.model(images).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_what_is_no_classifier_is_refused_in_one_line(trained, tmp_path):
    encoder = tmp_path / "encoder.keras"
    models.build_encoder(trained.backbone).save(encoder)
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"PK")
    run = tmp_path / "run"
    run.mkdir()
    for mode, text in (
        ("pretrain", "--mode=finetune --checkpoint="),
        ("finetune", "--export_formats=classifier"),
    ):
        (run / "config.json").write_text(json.dumps({"mode": mode}))
        with pytest.raises(ConfigError, match=text):
            load_classifier(run)
    for path, text in (
        (encoder, "names no classes"),
        (broken, "cannot be loaded"),
        (tmp_path / "absent.keras", "no classifier at"),
        (tmp_path, "not the folder of a run"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            load_classifier(path)
        assert "\n" not in str(caught.value)
