"""Exports load elsewhere, in new processes, and give the same numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models, saved_model
from simclr_tf2.config import (
    ModelConfig,
)
from simclr_tf2.errors import ConfigError
from tests import command_line

ENDPOINTS = {
    "initial_conv",
    "initial_max_pool",
    "block_group1",
    "block_group2",
    "block_group3",
    "block_group4",
    "final_avg_pool",
    "proj_head_input",
    "proj_head_output",
    "logits_sup",
    "default",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, images, training model) of a trained-looking net with every option."""
    folder = tmp_path_factory.mktemp("exports")
    keras.utils.set_random_seed(0)
    model = models.build_simclr(
        ModelConfig(
            resnet_depth=50,
            width_multiplier=0.0625,
            sk_ratio=0.0625,
            se_ratio=0.25,
            num_proj_layers=2,
            proj_out_dim=5,
        ),
        image_size=32,
        num_classes=3,
    )
    rng = np.random.default_rng(0)
    for variable in model.variables:
        noise = 0.1 * rng.standard_normal(variable.shape)
        if "variance" in variable.path:
            noise = abs(noise)
        variable.assign(variable.numpy() + noise)
    copy = models.export_copy(model)
    saved_model.save_encoder(
        models.build_encoder(copy.backbone), folder / "encoder.keras"
    )
    saved_model.save_hub_module(copy, folder / "saved_model", step=7, keep=1)
    images = rng.random((4, 32, 32, 3)).astype(np.float32)
    np.save(folder / "images.npy", images)
    np.save(folder / "h.npy", model(images, training=False)["representation"])
    return folder, images, model


def test_load_encoder_takes_the_file_or_the_folder(exported):
    folder, images, _ = exported
    for path in (folder, folder / "encoder.keras"):
        h = saved_model.load_encoder(path)(images)
        np.testing.assert_allclose(h, np.load(folder / "h.npy"), rtol=1e-4, atol=1e-6)


def test_load_encoder_of_nothing_or_of_rubbish_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no encoder at"):
        saved_model.load_encoder(tmp_path)
    (tmp_path / "encoder.keras").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        saved_model.load_encoder(tmp_path)


def test_saved_model_gives_every_endpoint_and_the_same_h(exported):
    folder, images, model = exported
    module = tf.saved_model.load(str(folder / "saved_model" / "7"))
    found = module(tf.constant(images), trainable=False)
    assert set(found) == ENDPOINTS
    h = np.load(folder / "h.npy")
    np.testing.assert_allclose(found["final_avg_pool"], h, rtol=1e-4, atol=1e-6)
    z = model(images, training=False)["projection"]
    np.testing.assert_allclose(found["proj_head_output"], z, rtol=1e-3, atol=1e-5)
    served = module.signatures["serving_default"](inputs=tf.constant(images))
    np.testing.assert_allclose(served["final_avg_pool"], h, rtol=1e-4, atol=1e-6)


def test_trainable_uses_batch_statistics_and_gives_gradients(exported):
    folder, images, _ = exported
    module = tf.saved_model.load(str(folder / "saved_model" / "7"))
    frozen = module(tf.constant(images), trainable=False)["final_avg_pool"]
    with tf.GradientTape() as tape:
        h = module(tf.constant(images), trainable=True)["final_avg_pool"]
        loss = tf.reduce_sum(h**2)
    gradients = tape.gradient(loss, module.trainable_variables)
    assert np.abs(h.numpy() - frozen.numpy()).max() > 1e-3
    assert sum(g is not None for g in gradients) > 100


def test_only_the_newest_modules_are_kept(exported, tmp_path):
    copy = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.0625), image_size=8, export=True
    )
    for step in (9, 10, 100):
        saved_model.save_hub_module(copy, tmp_path, step=step, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "100"]


@pytest.mark.slow
def test_it_works_in_hub_keras_layer_of_keras_2(exported):
    pytest.importorskip("tf_keras")
    pytest.importorskip("tensorflow_hub")
    folder, _, _ = exported
    out = command_line.python(
        "import sys, numpy as np, tf_keras, tensorflow_hub as hub\n"
        "f = sys.argv[1]\n"
        "layer = hub.KerasLayer(f + '/saved_model/7', trainable=True)\n"
        "h = layer(np.load(f + '/images.npy'))['final_avg_pool'].numpy()\n"
        "w = np.load(f + '/h.npy')\n"
        "assert len(layer.trainable_variables) > 100\n"
        "print(np.abs(h - w).max() / np.abs(w).max())",
        folder,
        TF_USE_LEGACY_KERAS="1",
    )
    assert float(out) < 1e-5
