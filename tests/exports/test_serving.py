"""The classifier as a SavedModel of encoded images, loaded without this library."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from simclr_tf2 import models
from simclr_tf2.augmentations import eval_view
from simclr_tf2.config import ModelConfig
from simclr_tf2.exports.serving import ServingClassifier, save_serving_classifier
from tests import command_line

CLASSES = ("cat", "Ärger", "dog")
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
path, out, *images = sys.argv[1:]
contents = tf.constant([open(image, "rb").read() for image in images])
loaded = tf.saved_model.load(path)
found = loaded.signatures["serving_default"](image_bytes=contents)
np.savez(out, **{k: v.numpy() for k, v in found.items()})
assert (loaded.serve(contents)["label"].numpy() == found["label"].numpy()).all()
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(1)
    network = ModelConfig(resnet_depth=10, width_multiplier=0.125)
    model = models.build_simclr(network, image_size=40, num_classes=3, export=True)
    random = np.random.default_rng(0)
    for variable in model.supervised_head.variables:
        variable.assign(random.standard_normal(variable.shape))
    return models.build_classifier(model)


def encoded(folder, pixels, name, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, name.split(".")[-1], **options)
    (folder / name).write_bytes(data.getvalue())
    return folder / name


@pytest.mark.slow  # a SavedModel is written and loaded
def test_files_of_several_kinds_and_sizes_are_labelled_elsewhere(classifier, tmp_path):
    random = np.random.default_rng(3)
    color = random.integers(0, 256, (70, 53, 3), np.uint8)
    gray = random.integers(0, 256, (31, 90), np.uint8)
    images = [
        encoded(tmp_path, color, "color.png"),
        encoded(tmp_path, gray, "gray.png"),
        encoded(tmp_path, color, "color.jpeg", quality=95),
        encoded(tmp_path, color, "color.bmp"),
    ]
    jpeg = np.asarray(Image.open(tmp_path / "color.jpeg"))
    pixels = [color, np.repeat(gray[..., None], 3, axis=2), jpeg, color]
    views = np.stack([eval_view(image, image_size=(40, 40)) for image in pixels])
    expected = np.asarray(classifier(views))
    module = ServingClassifier(
        classifier, image_size=40, channels=3, class_names=CLASSES
    )
    path = save_serving_classifier(module, tmp_path / "model", step=3, keep=1)
    command_line.python(PROGRAM, path, tmp_path / "found.npz", *images)
    found = np.load(tmp_path / "found.npz", allow_pickle=True)
    exact = [0, 1, 3]
    given = found["probabilities"]
    np.testing.assert_allclose(given[exact], expected[exact], atol=1e-5)
    np.testing.assert_allclose(given[2], expected[2], atol=0.02)  # another decoder
    assert np.ptp(expected, axis=1).min() > 0.05
    names = [CLASSES[i].encode() for i in given.argmax(axis=1)]
    assert found["label"].tolist() == names
    assert found["classes"].tolist() == [[c.encode() for c in CLASSES]] * 4


def test_only_the_newest_are_kept(classifier, tmp_path):
    module = ServingClassifier(
        classifier, image_size=40, channels=3, class_names=CLASSES
    )
    for step in (1, 2, 10):
        (tmp_path / str(step)).mkdir()
    save_serving_classifier(module, tmp_path, step=11, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11"]
