"""Encoders from elsewhere: the same images go in, features come out, or one line."""

import keras
import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.other_weights import open_encoder

IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
# As Keras names the file that it downloads.
FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


def opened(source, **changes):
    given = {"image_size": (32, 32), "channels": 3, "download": False} | changes
    return open_encoder(str(source), **given)


@pytest.fixture
def weights_on_this_machine(tmp_path, monkeypatch):
    """A network with random weights in place of those that Keras would download."""
    from keras.src.utils import file_utils

    keras.utils.set_random_seed(3)
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    (tmp_path / "models").mkdir()
    network.save_weights(tmp_path / "weights.weights.h5")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(
        file_utils, "get_file", lambda *_, **__: str(tmp_path / "models" / FILE)
    )
    (tmp_path / "weights.weights.h5").rename(tmp_path / "models" / FILE)
    monkeypatch.setattr(
        keras.Model,
        "load_weights",
        lambda self, _: self.set_weights(network.get_weights()),
    )
    return network


def test_keras_applications_read_their_own_scale_and_maps_are_averaged(
    weights_on_this_machine,
):
    encoder = opened("keras.applications.MobileNetV2")
    maps = weights_on_this_machine(IMAGES * 2 - 1)  # -1 to 1, as MobileNetV2 takes them
    expected = np.asarray(maps).mean(axis=(1, 2))
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNet", "ResNet50", "MobileNetV3Small"])
def test_weights_that_are_not_here_ask_for_download(weights_on_this_machine, name):
    with pytest.raises(ConfigError, match="add --download"):
        opened(f"keras.applications.{name}")


def test_a_file_whose_output_is_a_map(tmp_path):
    network = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)]
    )
    network.save(tmp_path / "own.keras")
    expected = np.asarray(network(IMAGES)).mean(axis=(1, 2))
    found = opened(tmp_path / "own.keras")(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "changes", "text"),
    [
        ("keras.applications.ResNet5O", {}, "did you mean keras.applications.ResNet50"),
        ("keras.applications.ResNet50", {"channels": 1}, "3 channels, these have 1"),
        ("no/such/file.keras", {}, "no encoder at"),
        ("small.keras", {"channels": 1}, "3 channels, these have 1"),
        ("small.keras", {"image_size": (64, 32)}, "takes images of 16 x 16"),
        ("two.keras", {"image_size": (16, 16)}, "one map"),
        ("bytes.keras", {"image_size": (16, 16)}, r"\[0, 255\]"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    tmp_path, source, changes, text
):
    images = keras.Input((16, 16, 3))
    flat = keras.layers.Flatten()(images)
    keras.Model(images, flat).save(tmp_path / "small.keras")
    keras.Model(images, [flat, images]).save(tmp_path / "two.keras")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    keras.Model(images, scaled).save(tmp_path / "bytes.keras")
    place = tmp_path / source if (tmp_path / source).exists() else source
    with pytest.raises(ConfigError, match=text) as caught:
        opened(place, **changes)
    assert "\n" not in str(caught.value)
