"""What every export format keeps to: files that load without this library."""

import json

import numpy as np
import pytest

from simclr_tf2.report import run_report
from simclr_tf2.run_paths import RunFolder
from tests import command_line
from tests.exports.conftest import ENCODERS

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
def loaded(exported, tmp_path_factory):
    """Format -> h of the images, as a new process computes it."""
    folder = tmp_path_factory.mktemp("loaded")
    for name in ENCODERS:
        images = exported.pixels if name in TAKES_BYTES else exported.images
        np.save(folder / f"{name}.images.npy", images)
    work = [(n, str(path), LOADED_BY[n]) for n, (path, _) in exported.files.items()]
    (folder / "formats.json").write_text(json.dumps(work))
    assert "loaded" in command_line.python(PROGRAM, folder)
    return {name: np.load(folder / f"{name}.h.npy") for name in ENCODERS}


pytestmark = pytest.mark.slow  # every format is written first: half a minute
every_format = pytest.mark.parametrize("name", ENCODERS)


@every_format
def test_a_format_is_written_and_says_how_to_load_it(exported, name):
    path, text = exported.files[name]
    assert path.exists() and path.is_relative_to(exported.folder / name)
    assert "(path)(" in text and " -> " in text


@every_format
def test_a_later_report_lists_the_format(exported, name):
    path, _ = exported.files[name]
    ((listed, _),) = run_report.files_there(RunFolder(exported.folder / name))
    assert listed in (path, path.parent)


@every_format
def test_a_new_process_without_this_library_gives_h_of_the_encoder(
    exported, loaded, name
):
    h = exported.h
    assert loaded[name].shape == h.shape == (4, 128)
    assert abs(loaded[name] - h).max() < 1e-5 * abs(h).max()
