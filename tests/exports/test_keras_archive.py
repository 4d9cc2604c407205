"""The .keras files load on every backend of Keras, in earlier versions, and train."""

import importlib.util
import json
import zipfile

import keras
import numpy as np
import pytest

from simclr_tf2 import models, saved_model
from simclr_tf2.config import ModelConfig
from simclr_tf2.exports.classifier_file import save_classifier
from simclr_tf2.exports.keras_archive import (
    LATER_ARGUMENTS,
    OLDEST_FOR_LAYERS,
    OLDEST_FOR_OPERATIONS,
    oldest_keras,
    save_archive,
)
from tests import command_line

NETWORKS = {
    "sk": {"stem": "cifar", "sk_ratio": 0.0625, "resnet_depth": 50},
    "imagenet": {"stem": "imagenet"},
    "stride2": {"stem": "stride2"},
    "resnet_d": {"stem": "imagenet", "resnet_d": True},
    "cifar": {"stem": "cifar", "se_ratio": 0.25},
}
# Names of configs that Keras 3.4.1 takes, of what the networks are made of; each class
# also takes name, trainable and dtype. Read off its constructors.
KNOWN = {
    "InputLayer": "batch_shape sparse ragged",
    "ZeroPadding2D": "padding data_format",
    "Conv2D": "filters kernel_size strides padding data_format dilation_rate groups "
    "activation use_bias kernel_initializer bias_initializer kernel_regularizer "
    "bias_regularizer activity_regularizer kernel_constraint bias_constraint",
    "Dense": "units activation use_bias kernel_initializer bias_initializer "
    "kernel_regularizer bias_regularizer kernel_constraint bias_constraint",
    "BatchNormalization": "axis momentum epsilon center scale beta_initializer "
    "gamma_initializer moving_mean_initializer moving_variance_initializer "
    "beta_regularizer gamma_regularizer beta_constraint gamma_constraint synchronized",
    "VarianceScaling": "scale mode distribution seed",
}
PROGRAM = """
import json, sys
import keras, numpy as np
folder = sys.argv[1]
for name in json.loads(sys.argv[2]):
    model = keras.models.load_model(f"{folder}/{name}.keras")
    found = model(np.load(f"{folder}/{name}.images.npy"))
    np.save(f"{folder}/{name}.found.npy", keras.ops.convert_to_numpy(found))
model = keras.models.load_model(folder + "/stride2.keras")
images = np.load(folder + "/stride2.images.npy")
before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
model.fit(images, np.ones((len(images), model.output_shape[-1])), verbose=0)
moved = [
    bool((keras.ops.convert_to_numpy(v) != old).any())
    for v, old in zip(model.trainable_variables, before)
]
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
assert keras.backend.backend() == "tensorflow" or "tensorflow" not in sys.modules
print(json.dumps({"backend": keras.backend.backend(), "moved": sum(moved)}))
"""


def network(**settings):
    """A small network in export form, with weights that every layer shows in h."""
    keras.utils.set_random_seed(0)
    settings = {"resnet_depth": 10, "width_multiplier": 0.0625, **settings}
    model = models.build_simclr(
        ModelConfig(**settings),
        image_size=40,
        num_classes=3,
        export=True,
        any_size=True,
    )
    random = np.random.default_rng(0)
    for variable in model.variables:
        noise = 0.1 * random.standard_normal(variable.shape)
        variable.assign(
            variable + (abs(noise) if "variance" in variable.path else noise)
        )
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(folder, name of each file -> its outputs here); NAME.images.npy is the input."""
    folder = tmp_path_factory.mktemp("archives")
    random = np.random.default_rng(1)
    expected = {}
    for name, settings in NETWORKS.items():
        model = network(**settings)
        encoder = models.build_encoder(model.backbone)
        saved_model.save_encoder(encoder, folder / f"{name}.keras")
        images = random.random((2, 40, 40, 3), np.float32)
        np.save(folder / f"{name}.images.npy", images)
        expected[name] = encoder(images).numpy()
    pixels = random.integers(0, 256, (2, 70, 53, 3), np.uint8)
    whole = saved_model.with_preprocessing(encoder, image_size=40)
    saved_model.save_encoder(whole, folder / "encoder_uint8.keras")
    expected["encoder_uint8"] = whole(pixels).numpy()
    classifier = folder / "classifier.keras"
    of_classes = models.build_classifier(model)
    save_classifier(of_classes, classifier, image_size=40, class_names=("a", "b", "c"))
    view = saved_model.with_preprocessing(of_classes, image_size=40)
    expected["classifier"] = view(pixels).numpy()
    for name in ("encoder_uint8", "classifier"):
        np.save(folder / f"{name}.images.npy", pixels)
    return folder, expected


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_bare_process_on_each_backend_gives_the_same_and_trains(saved, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, expected = saved
    said = command_line.python(
        PROGRAM,
        folder,
        json.dumps(list(expected)),
        KERAS_BACKEND=backend,
        JAX_PLATFORMS="cpu",
    )
    told = json.loads(said.splitlines()[-1])
    assert told["backend"] == backend and told["moved"] > 10
    for name, outputs in expected.items():
        found = np.load(folder / f"{name}.found.npy")
        assert abs(found - outputs).max() < 1e-5 * abs(outputs).max(), name
        assert np.ptp(outputs) > 0.01, name


def parts_of(config):
    """(class, names of its arguments) of every object in a config."""
    if isinstance(config, list):
        return [part for value in config for part in parts_of(value)]
    if not isinstance(config, dict):
        return []
    own = (
        [(config["class_name"], set(config["config"]))]
        if "class_name" in config
        else []
    )
    return own + [part for value in config.values() for part in parts_of(value)]


def config_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def test_files_hold_no_arguments_that_earlier_versions_refuse(saved):
    """A new version of Keras that adds one needs a line in LATER_ARGUMENTS."""
    folder, expected = saved
    seen = set()
    for name in expected:
        for kind, arguments in parts_of(config_of(folder / f"{name}.keras")):
            if kind in KNOWN:
                seen.add(kind)
                common = {"name", "trainable", "dtype"}
                assert arguments - common <= set(KNOWN[kind].split()), (kind, name)
    assert seen == set(KNOWN) == {*LATER_ARGUMENTS, "ZeroPadding2D"}


def test_an_argument_with_a_value_of_its_own_stays(tmp_path):
    images = keras.Input((4,))
    start = keras.initializers.VarianceScaling()
    if "input_axes" not in start.get_config():
        pytest.skip("this Keras has no such argument yet")
    start = keras.initializers.VarianceScaling(input_axes=(0,), output_axes=(1,))
    layer = keras.layers.Dense(2, kernel_initializer=start)
    save_archive(keras.Model(images, layer(images)), tmp_path / "model.keras")
    found = dict(parts_of(config_of(tmp_path / "model.keras")))
    assert {"input_axes", "output_axes"} <= found["VarianceScaling"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_the_lowest_version_depends_on_operations_in_the_graph():
    images = keras.Input((4,))
    inner = keras.Model(images, keras.ops.split(images, 2, axis=-1)[0])
    assert oldest_keras(inner) == OLDEST_FOR_OPERATIONS
    assert oldest_keras(keras.Model(images, inner(images))) == OLDEST_FOR_OPERATIONS
    layers = keras.Model(images, keras.layers.Dense(2)(images))
    assert oldest_keras(layers) == OLDEST_FOR_LAYERS
