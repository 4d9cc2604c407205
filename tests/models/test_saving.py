"""A saved backbone loads elsewhere, without this library."""

import subprocess
import sys

import numpy as np

from simclr_tf2.config import ModelConfig
from simclr_tf2.models import build_simclr
from simclr_tf2.reference.names import reference_weight_names

LOAD = """
import pathlib
import sys
import keras, numpy
images = numpy.load("images.npy")
for path in sorted(pathlib.Path().glob("*.keras")):
    model = keras.models.load_model(path)
    outputs = model(images, training=False)
    numpy.savez(path.stem, **{k: v.numpy() for k, v in outputs.items()})
    print(";".join(layer.name for layer in model.layers))
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
"""
NETWORKS = {
    "basic": ModelConfig(resnet_depth=18, width_multiplier=0.125, stem="imagenet"),
    "kernels": ModelConfig(
        resnet_depth=50,
        width_multiplier=0.125,
        sk_ratio=0.0625,
        se_ratio=0.25,
        stem="imagenet",
    ),
}


def trained(config, images):
    """A stock backbone with nothing at its initial value, zero gammas above all."""
    model = build_simclr(config, image_size=17, export=True)
    model(images, training=True)  # moves the statistics
    rng = np.random.default_rng(1)
    for variable in model.backbone.trainable_variables:
        variable.assign(variable.numpy() + 0.1 * rng.standard_normal(variable.shape))
    return model.backbone


def test_backbone_files_give_the_same_outputs_in_a_new_process(tmp_path):
    images = np.random.default_rng(0).random((3, 17, 17, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    backbones = {name: trained(config, images) for name, config in NETWORKS.items()}
    for name, backbone in backbones.items():
        backbone.save(tmp_path / f"{name}.keras")
    command = [sys.executable, "-c", LOAD]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.strip().splitlines()[-len(NETWORKS) :]
    for names, (name, backbone) in zip(printed, backbones.items(), strict=True):
        assert names.split(";") == [layer.name for layer in backbone.layers]
        assert len(reference_weight_names(backbone)) == len(backbone.variables)
        expected = backbone(images)
        with np.load(tmp_path / f"{name}.npz") as loaded:
            assert set(loaded) == set(expected)
            for endpoint, value in loaded.items():
                want = expected[endpoint].numpy()
                assert np.abs(value - want).max() <= 1e-6 * np.abs(want).max()
