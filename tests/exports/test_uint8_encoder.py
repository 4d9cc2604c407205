"""encoder_uint8.keras: the view of evaluation within a file of stock operations."""

import keras
import numpy as np
import pytest

from simclr_tf2 import augmentations, models, saved_model
from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from tests import command_line

SIZES = (24, 40, (20, 33))  # whole image, central crop, and not square
SHAPES = ((40, 48), (24, 24), (150, 101), (7, 9), (1, 1), (5, 90))
NEAR = 5e-6  # of [0, 1]: float32 sums of up to 150 products


def identity(channels):
    images = keras.Input((None, None, channels))
    return keras.Model(images, keras.layers.Identity()(images), name="view")


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_its_view_is_the_view_of_evaluation(image_size, channels):
    model = saved_model.with_preprocessing(
        identity(channels), image_size=image_size, channels=channels
    )
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        images = rng.integers(0, 256, (2, *shape, channels), np.uint8)
        expected = [augmentations.eval_view(i, image_size=image_size) for i in images]
        np.testing.assert_allclose(model(images), expected, rtol=0, atol=NEAR)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, encoder of [0, 1]): both files, images and what they should give."""
    folder = tmp_path_factory.mktemp("uint8")
    keras.utils.set_random_seed(0)
    model = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.125),
        image_size=40,
        export=True,
        any_size=True,
    )
    encoder = models.build_encoder(model.backbone)
    saved_model.save_encoder(encoder, folder / "encoder.keras")
    whole = saved_model.with_preprocessing(encoder, image_size=40)
    saved_model.save_encoder(whole, folder / "encoder_uint8.keras")
    images = np.random.default_rng(0).integers(0, 256, (3, 70, 50, 3), np.uint8)
    views = np.stack([augmentations.eval_view(i, image_size=40) for i in images])
    np.savez(folder / "expected.npz", images=images, h=encoder(views))
    return folder, encoder


def test_it_loads_in_a_new_process_without_this_library(exported):
    folder, _ = exported
    out = command_line.python(
        "import sys, keras, numpy as np\n"
        "f = np.load(sys.argv[1] + '/expected.npz')\n"
        "m = keras.models.load_model(sys.argv[1] + '/encoder_uint8.keras')\n"
        "called = np.asarray(m(f['images'])) - f['h']\n"
        "predicted = m.predict(f['images'], verbose=0) - f['h']\n"
        "assert 'simclr_tf2' not in sys.modules\n"
        "gap = max(np.abs(called).max(), np.abs(predicted).max())\n"
        "print(gap / np.abs(f['h']).max())",
        folder,
    )
    assert float(out) < 1e-4


def test_load_encoder_says_that_images_are_not_in_0_to_1(exported, caplog):
    folder, plain = exported
    images = np.load(folder / "expected.npz")["images"].astype(np.float32)
    encoder = saved_model.load_encoder(folder)
    encoder(images / 255)
    encoder.predict(images / 255, verbose=0)
    assert caplog.text == ""
    np.testing.assert_array_equal(encoder(images), plain(images))  # said, not changed
    encoder.predict(images, verbose=0)
    (record,) = caplog.records
    assert "takes images in [0, 1] and was given values up to 255" in record.message


def test_what_scales_images_itself_is_no_encoder_of_0_to_1(exported, tmp_path):
    folder, encoder = exported
    images = keras.Input((None, None, 3))
    scaled = keras.Model(images, encoder(keras.layers.Rescaling(1 / 255)(images)))
    scaled.save(tmp_path / "scaled.keras")
    for path in (folder / "encoder_uint8.keras", tmp_path / "scaled.keras"):
        with pytest.raises(ConfigError, match=r"takes images in \[0, 255\]") as caught:
            saved_model.load_encoder(path)
        assert "\n" not in str(caught.value)
