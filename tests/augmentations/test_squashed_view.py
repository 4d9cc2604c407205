"""The view of the VOC07 benchmark: the whole image, its aspect not kept."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import crop

RNG = np.random.default_rng(0)


def smooth(height, width):
    """Pixels that resizing keeps within bounds: no overshoot to clip."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([x, y, 0.5 * (x + y)], -1).astype(np.float32) * 0.8 + 0.1


@pytest.mark.parametrize(
    ("shape", "between"),
    [((375, 500), (256, 341)), ((500, 375), (341, 256)), ((100, 100), (256, 256))],
)
def test_the_shorter_side_becomes_256_and_then_both_224(shape, between):
    image = (255 * RNG.random((*shape, 3))).astype(np.uint8)
    expected = tf.image.resize(image.astype(np.float32), between, method="bicubic")
    expected = tf.image.resize(expected, (224, 224), method="bicubic") / 255
    view = augmentations.squashed_view(image, image_size=224)
    assert view.shape == (224, 224, 3)
    np.testing.assert_allclose(view, np.clip(expected, 0, 1), atol=1e-5)


def test_the_borders_of_a_wide_image_are_seen_where_the_centre_crop_has_none():
    image = np.zeros((96, 192, 3), np.float32)
    image[:, :19] = image[:, -19:] = 1  # a tenth on either side
    whole = augmentations.squashed_view(image, image_size=96).numpy()
    centre = augmentations.eval_view(image, image_size=96).numpy()
    assert whole.mean() == pytest.approx(2 * 19 / 192, abs=0.01)
    assert centre.max() == 0


@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
def test_what_is_linear_over_the_image_is_linear_over_the_view(size):
    view = augmentations.squashed_view(smooth(150, 230), image_size=size).numpy()
    inner = (slice(8, -8),) * 2  # bicubic weights are cut at the borders
    np.testing.assert_allclose(view[inner], smooth(*size)[inner], atol=0.02)


def test_an_image_of_a_small_view_stays_as_it_is():
    image = (255 * RNG.random((32, 32, 3))).astype(np.uint8)
    view = augmentations.squashed_view(image, image_size=32)
    np.testing.assert_allclose(view, image / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5000, 1), (5000, 2, 1)])
def test_the_first_step_of_a_very_long_image_is_bounded(shape, monkeypatch):
    sizes = []
    resize = tf.raw_ops.ResizeBicubic

    def spy(**arguments):
        sizes.append(np.asarray(arguments["size"]))
        return resize(**arguments)

    monkeypatch.setattr(tf.raw_ops, "ResizeBicubic", spy)
    view = augmentations.squashed_view(np.full(shape, 0.5, np.float32), image_size=48)
    assert max(sizes[0]) == crop.MAX_SQUASH_ASPECT * min(sizes[0]) == 32 * 55
    np.testing.assert_allclose(view, np.full((48, 48, 1), 0.5), atol=1e-6)


def test_it_is_traced_for_images_of_any_size():
    traced = tf.function(
        lambda x: augmentations.squashed_view(x, image_size=40),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    for shape in ((50, 60, 3), (7, 90, 3)):
        image = (255 * RNG.random(shape)).astype(np.uint8)
        found = traced(image)
        assert found.shape == (40, 40, 3)
        direct = augmentations.squashed_view(image, image_size=40)
        np.testing.assert_allclose(found, direct, atol=1e-6)
