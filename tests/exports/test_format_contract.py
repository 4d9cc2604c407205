"""What every export format keeps to: files that load without this library."""

import json

import keras
import numpy as np
import pytest

from simclr_tf2 import models
from simclr_tf2.config import (
    EXPORT_FORMATS,
    Config,
    DataConfig,
    ExportConfig,
    ModelConfig,
)
from simclr_tf2.exports import formats
from simclr_tf2.report import run_report
from tests import command_line

SIZE = 32  # evaluation reads images of this size uncropped, as the uint8 encoder does
# How each format is loaded, h of `images`; a new format needs its lines here.
KERAS = """
import keras
h = keras.models.load_model(path)(images).numpy()
"""
SAVED_MODEL = """
import tensorflow as tf
h = tf.saved_model.load(path)(tf.constant(images), trainable=False)["default"].numpy()
"""
LOADED_BY = {"keras": KERAS, "keras_uint8": KERAS, "saved_model": SAVED_MODEL}
TAKES_BYTES = {"keras_uint8"}
PROGRAM = """
import json, sys
import numpy as np
folder = sys.argv[1]
for name, path, code in json.load(open(folder + "/formats.json")):
    images = np.load(f"{folder}/{name}.images.npy")
    scope = {"path": path, "images": images}
    exec(code, scope)
    np.save(f"{folder}/{name}.h.npy", scope["h"])
assert not any(name.startswith("simclr_tf2") for name in sys.modules)
print("loaded")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder, format -> (path, how to load it), h of the images)."""
    folder = tmp_path_factory.mktemp("formats")
    keras.utils.set_random_seed(0)
    config = Config(
        data=DataConfig(image_size=SIZE),
        model=ModelConfig(
            resnet_depth=50, width_multiplier=0.0625, sk_ratio=0.0625, se_ratio=0.25
        ),
    )
    model = models.build_simclr(config.model, image_size=SIZE, export=True)
    random = np.random.default_rng(0)
    for variable in model.variables:
        noise = 0.1 * random.normal(size=variable.shape)
        variable.assign(variable.numpy() + abs(noise))
    found = {}
    for name in EXPORT_FORMATS:
        (folder / name).mkdir()
        only = Config(
            data=config.data,
            model=config.model,
            export=ExportConfig(export_formats=(name,)),
        )
        (found[name],) = formats.write_exports(only, model, folder / name, step=7)
    pixels = random.integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    h = models.build_encoder(model.backbone)(pixels.astype(np.float32) / 255)
    return folder, found, pixels, np.asarray(h)


@pytest.fixture(scope="module")
def loaded(written):
    """Format -> h of the images, as a new process computes it."""
    folder, found, pixels, _ = written
    for name in EXPORT_FORMATS:
        images = pixels if name in TAKES_BYTES else pixels.astype(np.float32) / 255
        np.save(folder / f"{name}.images.npy", images)
    work = [(name, str(path), LOADED_BY[name]) for name, (path, _) in found.items()]
    (folder / "formats.json").write_text(json.dumps(work))
    assert "loaded" in command_line.python(PROGRAM, folder)
    return {name: np.load(folder / f"{name}.h.npy") for name in found}


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_a_format_is_written_and_says_how_to_load_it(written, name):
    folder, found, *_ = written
    path, text = found[name]
    assert path.exists() and path.is_relative_to(folder / name)
    assert "(path)(" in text and " -> " in text


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_a_later_report_lists_the_format(written, name):
    folder, found, *_ = written
    ((listed, _),) = run_report.files_there(folder / name, None)
    assert listed in (found[name][0], found[name][0].parent)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_a_new_process_without_this_library_gives_h_of_the_encoder(
    written, loaded, name
):
    h = written[-1]
    assert abs(h).max() > 0.01 and loaded[name].shape == h.shape
    np.testing.assert_allclose(loaded[name], h, rtol=1e-4, atol=1e-5)
