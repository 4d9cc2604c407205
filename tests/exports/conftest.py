"""One network of every kind of layer, in every export format."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from simclr_tf2 import models
from simclr_tf2.config import (
    EXPORT_FORMATS,
    ExportConfig,
    ModelConfig,
)
from simclr_tf2.exports import formats
from simclr_tf2.run_paths import RunFolder

ENCODERS = tuple(n for n in EXPORT_FORMATS if n not in formats.CLASSIFIER_FORMATS)
SIZE = 32  # evaluation reads images of this size uncropped, as the uint8 encoder does


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A trained-looking network as files, and what it gives.

    Attributes:
        folder: With a folder for each format, of its name.
        files: Format -> (path, how to load it).
        pixels: Images, uint8.
        images: The same in [0, 1].
        model: The network in training form.
        h: Its representations of the images.
    """
    folder = tmp_path_factory.mktemp("exports")
    keras.utils.set_random_seed(0)
    network = ModelConfig(
        resnet_depth=50,
        width_multiplier=0.0625,
        sk_ratio=0.0625,
        se_ratio=0.25,
        num_proj_layers=2,
        proj_out_dim=5,
    )
    model = models.build_simclr(network, image_size=SIZE, num_classes=3)
    random = np.random.default_rng(0)
    for variable in model.variables:
        noise = 0.1 * random.standard_normal(variable.shape)
        if "variance" in variable.path:
            noise = abs(noise)
        variable.assign(variable.numpy() + noise)
    copy = models.export_copy(model)
    files = {}
    for name in ENCODERS:
        (folder / name).mkdir()
        asked = ExportConfig(export_formats=(name,), keep_hub_module_max=1)
        (files[name],) = formats.write_exports(
            asked, copy, RunFolder(folder / name), image_size=SIZE, step=7
        )
    pixels = random.integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    images = pixels.astype(np.float32) / 255
    return SimpleNamespace(
        folder=folder,
        files=files,
        pixels=pixels,
        images=images,
        model=model,
        h=model(images, training=False)["representation"].numpy(),
    )
