"""Exports load elsewhere, in new processes, and give the same numbers."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models, saved_model
from simclr_tf2.augmentations import eval_view
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


def test_load_encoder_takes_the_file_or_the_folder(exported):
    folder = exported.folder / "keras"
    for path in (folder, folder / "encoder.keras"):
        h = saved_model.load_encoder(path)(exported.images)
        np.testing.assert_allclose(h, exported.h, rtol=1e-4, atol=1e-6)


def test_load_encoder_of_nothing_or_of_rubbish_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no encoder at"):
        saved_model.load_encoder(tmp_path)
    (tmp_path / "encoder.keras").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        saved_model.load_encoder(tmp_path)


@pytest.fixture(scope="module")
def module(exported):
    """The SavedModel, loaded."""
    return tf.saved_model.load(str(exported.files["saved_model"][0]))


def test_saved_model_gives_every_endpoint_and_the_same_h(exported, module):
    images = tf.constant(exported.images)
    found = module(images, trainable=False)
    assert set(found) == ENDPOINTS
    h = exported.h
    np.testing.assert_allclose(found["final_avg_pool"], h, rtol=1e-4, atol=1e-6)
    z = exported.model(images, training=False)["projection"]
    np.testing.assert_allclose(found["proj_head_output"], z, rtol=1e-3, atol=1e-5)
    served = module.signatures["serving_default"](inputs=images)
    np.testing.assert_allclose(served["final_avg_pool"], h, rtol=1e-4, atol=1e-6)


def test_encoded_files_give_h_of_their_views(exported, module):
    random = np.random.default_rng(2)
    images = [random.integers(0, 256, (40, 56, 3), np.uint8), exported.pixels[0]]
    contents = tf.stack([tf.io.encode_png(image) for image in images])
    served = module.signatures["serving_bytes"](image_bytes=contents)
    views = np.stack([eval_view(image, image_size=32) for image in images])
    expected = exported.model(views, training=False)
    for name, key in (
        ("final_avg_pool", "representation"),
        ("proj_head_output", "projection"),
    ):
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(served[name], expected[key], atol=1e-4 * scale)
    np.testing.assert_allclose(
        served["final_avg_pool"][1], exported.h[0], rtol=1e-3, atol=1e-5
    )


def test_five_channels_have_no_signature_of_bytes(tmp_path):
    copy = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.0625),
        image_size=8,
        channels=5,
        export=True,
    )
    path = saved_model.save_hub_module(copy, tmp_path, step=1, keep=0, image_size=8)
    assert set(tf.saved_model.load(str(path)).signatures) == {"serving_default"}


@pytest.mark.slow
def test_saved_model_cli_shows_both_signatures(exported):
    said = command_line.python(
        "from tensorflow.python.tools.saved_model_cli import main; main()",
        "show",
        "--all",
        "--dir",
        exported.files["saved_model"][0],
    )
    for words in ("serving_default", "serving_bytes", "image_bytes", "DT_STRING"):
        assert words in said
    assert "proj_head_output" in said


@pytest.mark.slow
def test_hub_load_gives_the_endpoints(exported):
    pytest.importorskip("tensorflow_hub")
    np.save(exported.folder / "images.npy", exported.images)
    np.save(exported.folder / "h.npy", exported.h)
    out = command_line.python(
        "import sys, numpy as np, tensorflow_hub as hub\n"
        "f = sys.argv[1]\n"
        "found = hub.load(sys.argv[2])(np.load(f + '/images.npy'), trainable=False)\n"
        "w = np.load(f + '/h.npy')\n"
        "print(np.abs(found['final_avg_pool'] - w).max() / np.abs(w).max())",
        exported.folder,
        exported.files["saved_model"][0],
    )
    assert float(out) < 1e-5


@pytest.mark.slow
def test_trainable_uses_batch_statistics_and_gives_gradients(exported, module):
    images = tf.constant(exported.images)
    with tf.GradientTape() as tape:
        h = module(images, trainable=True)["final_avg_pool"]
        loss = tf.reduce_sum(h**2)
    gradients = tape.gradient(loss, module.trainable_variables)
    assert np.abs(h.numpy() - exported.h).max() > 1e-3
    assert sum(g is not None for g in gradients) > 100


def test_only_the_newest_modules_are_kept(tmp_path):
    copy = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.0625), image_size=8, export=True
    )
    for step in ("9", "10"):  # of earlier exports
        (tmp_path / step).mkdir()
    saved_model.save_hub_module(copy, tmp_path, step=100, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "100"]


@pytest.mark.slow
def test_it_works_in_hub_keras_layer_of_keras_2(exported):
    pytest.importorskip("tf_keras")
    pytest.importorskip("tensorflow_hub")
    np.save(exported.folder / "images.npy", exported.images)
    np.save(exported.folder / "h.npy", exported.h)
    out = command_line.python(
        "import sys, numpy as np, tf_keras, tensorflow_hub as hub\n"
        "f = sys.argv[1]\n"
        "layer = hub.KerasLayer(sys.argv[2], trainable=True)\n"
        "h = layer(np.load(f + '/images.npy'))['final_avg_pool'].numpy()\n"
        "w = np.load(f + '/h.npy')\n"
        "assert len(layer.trainable_variables) > 100\n"
        "print(np.abs(h - w).max() / np.abs(w).max())",
        exported.folder,
        exported.files["saved_model"][0],
        TF_USE_LEGACY_KERAS="1",
    )
    assert float(out) < 1e-5
