"""A saved backbone loads elsewhere, without this library."""

import subprocess
import sys

import numpy as np
import pytest

from simclr_tf2.config import ModelConfig
from simclr_tf2.models import build_simclr
from simclr_tf2.models.reference_names import reference_weight_names

LOAD = """
import sys
import keras, numpy
folder = sys.argv[1]
model = keras.models.load_model(folder + "/encoder.keras")
outputs = model(numpy.load(folder + "/images.npy"), training=False)
numpy.savez(folder + "/loaded.npz", **{k: v.numpy() for k, v in outputs.items()})
print(";".join(layer.name for layer in model.layers))
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
"""


@pytest.mark.parametrize("sk_ratio", [0.0, 0.0625])
def test_backbone_file_gives_the_same_output_in_a_new_process(tmp_path, sk_ratio):
    config = ModelConfig(
        resnet_depth=50 if sk_ratio else 18,
        width_multiplier=0.125,
        sk_ratio=sk_ratio,
        se_ratio=0.25,
        stem="imagenet",
    )
    model = build_simclr(config, image_size=17, export=True)
    rng = np.random.default_rng(0)
    images = rng.random((3, 17, 17, 3)).astype(np.float32)
    model(images, training=True)  # moves the statistics
    backbone = model.backbone
    for variable in backbone.trainable_variables:  # zero gammas would hide branches
        variable.assign(variable.numpy() + 0.1 * rng.standard_normal(variable.shape))
    backbone.save(tmp_path / "encoder.keras")
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = result.stdout.strip().splitlines()[-1].split(";")
    assert names == [layer.name for layer in backbone.layers]
    expected = backbone(images)
    with np.load(tmp_path / "loaded.npz") as loaded:
        assert set(loaded) == set(expected)
        for name, value in loaded.items():
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(value, expected[name], atol=1e-6 * scale)
    assert len(reference_weight_names(backbone)) == len(backbone.variables)
