"""The layer that normalizes images is NumPy's formula, in training and in exports."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from simclr_tf2.exports import hub, uint8_encoder

IMAGES = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def build(mean=(), std=(), **more):
    config = ModelConfig(
        resnet_depth=10,
        width_multiplier=0.125,
        stem="cifar",
        proj_out_dim=5,
        normalize_mean=mean,
        normalize_std=std,
    )
    keras.utils.set_random_seed(1)
    return models.build_simclr(config, image_size=16, **more)


@pytest.mark.parametrize(
    ("mean", "std", "dtype"),
    [
        (MEAN, STD, None),
        ((0.5,), (0.2,), None),
        (MEAN, STD, "mixed_bfloat16"),
        (MEAN, STD, "float64"),
    ],
)
def test_the_network_sees_normalized_images(mean, std, dtype):
    plain, own = build(dtype=dtype), build(mean, std, dtype=dtype)
    assert [v.path for v in own.variables] == [v.path for v in plain.variables]
    images = IMAGES.astype(np.float64) if dtype == "float64" else IMAGES
    normalized = (images - np.array(mean)) / np.array(std)
    if dtype != "float64":
        normalized = normalized.astype(np.float32)
    for training in (False, True):
        found = own(images, training=training)["projection"]
        wanted = plain(normalized, training=training)["projection"]
        # bfloat16: the last bit of an image may round the other way.
        tolerance = 3e-2 if dtype == "mixed_bfloat16" else 1e-5
        np.testing.assert_allclose(found, wanted, atol=tolerance)
    assert (
        abs(own(images)["projection"] - plain(images)["projection"]).numpy().max() > 0
    )


def test_exports_contain_it(tmp_path):
    model = build(MEAN, STD)
    wanted = model.representation(IMAGES)
    copy = models.export_copy(model)
    encoder = models.build_encoder(copy.backbone)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    assert type(loaded.get_layer("stem_normalization")) is keras.layers.Normalization
    np.testing.assert_allclose(loaded(IMAGES), wanted, atol=1e-5)

    hub.save_hub_module(copy, tmp_path / "hub", step=1, keep=1)
    module = tf.saved_model.load(str(tmp_path / "hub" / "1"))
    np.testing.assert_allclose(module(IMAGES)["default"], wanted, atol=1e-5)

    pixels = (IMAGES * 255).astype(np.uint8)
    of_pixels = uint8_encoder.with_preprocessing(encoder, image_size=16)
    wanted = model.representation(pixels / np.float32(255))
    np.testing.assert_allclose(of_pixels(pixels), wanted, atol=1e-4)


def test_it_is_frozen_with_the_stem_and_recomputed_with_it():
    model = build(MEAN, STD)
    wanted = model.representation(IMAGES, training=True)
    models.recompute(model, "groups")
    np.testing.assert_allclose(
        model.representation(tf.constant(IMAGES), training=True), wanted, atol=1e-5
    )
    models.freeze_up_to_block(model.backbone, 0)
    assert not model.backbone.get_layer("stem_normalization").trainable
