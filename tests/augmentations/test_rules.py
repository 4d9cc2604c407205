"""Each probability and range of a view is drawn as given, alike on all paths."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import (
    ViewRules,
    crop,
    on_device,
    policy,
    sampling,
)
from simclr_tf2.config import AugmentationConfig
from simclr_tf2.data import views

RANDOM = np.random.default_rng(0)
TOLERANCE = {"rtol": 0, "atol": 5e-6}
DRAWS = 2000
ALPHA = 1e-4
ALL = ViewRules(
    crop_area=(0.2, 0.7),
    crop_aspect=(0.6, 1.2),
    flip_probability=0.3,
    vertical_flip_probability=0.4,
    quarter_turns=True,
    jitter_probability=0.6,
    additive_brightness=True,
    grayscale_probability=0.35,
    blur_probability=0.7,
    blur_sigma=(0.5, 1.5),
    solarize_probability=0.45,
    solarize_threshold=0.55,
)
RULES = {
    "all": ALL,
    "paper's kinds": ViewRules(
        crop_area=(0.5, 0.5),
        crop_aspect=(1.0, 1.0),
        flip_probability=0.0,
        jitter_probability=1.0,
        grayscale_probability=0.0,
        blur_probability=1.0,
        blur_sigma=(1.0, 1.0),
    ),
    "added brightness": ViewRules(additive_brightness=True, jitter_probability=1.0),
    "turns": ViewRules(quarter_turns=True),
    "solarize": ViewRules(solarize_probability=1.0, solarize_threshold=0.0),
}


def image_of(height, width, channels=3):
    pixels = RANDOM.integers(0, 256, (height, width, channels), np.uint8)
    pixels[: height // 3] = pixels[: height // 3, :, :1]  # gray: hue has no meaning
    return pixels


@pytest.mark.parametrize("size", [22, 70])  # compiled by XLA, and single kernels
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_all_paths_make_the_same_views(rules, size):
    pytest.importorskip("numba")
    numba, windows, numbers, wanted = [], [], [], []
    for i in range(16):
        image = tf.constant(image_of(40, 53))
        options = {"seed": [2, i], "num_views": 1, "image_size": size, "rules": rules}
        wanted += policy.views(image, **options)
        numba += augmentations.BACKENDS["numba"].views(image, **options)
        parts = augmentations.BACKENDS["numba"].windows(image, **options)
        windows += parts[0]
        numbers += parts[1]
    device = on_device.finish(tf.stack(windows), tf.stack(numbers), use_blur=True)
    # A value at the threshold may be inverted by one path and not by another: then
    # one is near the threshold, the other one near 1 less the threshold.
    threshold = rules.solarize_threshold if rules.solarize_probability else -1.0
    for found in (np.stack(numba), device.numpy()):
        off = abs(found - np.stack(wanted)) > TOLERANCE["atol"]
        at = np.minimum(abs(found - threshold), abs(found - (1 - threshold)))
        assert off.mean() < 1e-4 and np.all(at[off] < 1e-4)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_finished_alike_by_device_and_host(channels):
    image = tf.constant(image_of(30, 30, channels))
    options = {"seed": [5, 6], "num_views": 12, "image_size": 24, "rules": ALL}
    windows, numbers = policy.windows(image, **options)
    found = on_device.finish(tf.stack(windows), tf.stack(numbers), use_blur=True)
    wanted = tf.stack(policy.views(image, **options))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_orientations_are_those_of_numpy():
    lines = RANDOM.random((2, 5, 5)).astype(np.float32)
    for flip in (False, True):
        for turns in range(4):
            found = crop.orient(
                tf.constant(lines), vertical_flip=flip, quarter_turns=tf.constant(turns)
            )
            wanted = lines[:, ::-1] if flip else lines
            wanted = np.rot90(wanted, turns, axes=(1, 2))
            np.testing.assert_array_equal(found, wanted)


def assert_share(events, probability):
    events = np.asarray(events, bool)
    test = stats.binomtest(int(events.sum()), events.size, probability)
    assert test.pvalue > ALPHA, (events.mean(), probability)


def test_each_choice_is_drawn_with_its_probability(draw_many):
    kept = ("flip", "vertical_flip", "skip_blur", "solarize", "quarter_turns")
    kept += ("jitter_order", "jitter_amounts", "blur_sigma", "mixture")

    def one(seed):
        drawn = sampling.draw(seed, 0.5, ALL)
        return {name: getattr(drawn, name) for name in kept}

    drawn = draw_many(one, DRAWS)
    assert_share(drawn["flip"], 0.3)
    assert_share(drawn["vertical_flip"], 0.4)
    assert_share(drawn["skip_blur"] == 0, 0.7)
    assert_share(drawn["solarize"], 0.45)
    assert_share(drawn["jitter_order"] < 24, 0.6)
    mixes = drawn["mixture"][:, 0, 1] > 0
    assert_share(mixes | (drawn["jitter_order"] == 25), 0.35)
    turns = np.bincount(drawn["quarter_turns"], minlength=4)
    assert len(turns) == 4 and stats.chisquare(turns).pvalue > ALPHA
    uniform = stats.kstest(drawn["blur_sigma"], stats.uniform(0.5, 1.0).cdf)
    assert uniform.pvalue > ALPHA
    # Additive brightness: U(-0.8 s, 0.8 s), beside a factor of 1.
    added = drawn["jitter_amounts"][:, 4]
    assert stats.kstest(added, stats.uniform(-0.4, 0.8).cdf).pvalue > ALPHA
    assert np.all(drawn["jitter_amounts"][:, 0] == 1)


def test_crops_keep_to_area_and_aspect(draw_many):
    _, size = draw_many(
        lambda seed: crop.sample_crop_window(
            tf.constant([200, 200, 3]),
            seed=seed,
            area_range=(0.2, 0.4),
            aspect_limits=(0.5, 0.8),
        ),
        400,
    )
    rows, columns = size[:, 0], size[:, 1]
    area, aspect = rows * columns / 200**2, columns / rows
    assert 0.2 <= area.min() < 0.21 and 0.39 < area.max() <= 0.4
    assert 0.49 < aspect.min() < 0.52 and 0.78 < aspect.max() < 0.81


def test_an_area_of_one_is_the_whole_image():
    begin, size = crop.sample_crop_window(
        tf.constant([30, 41, 3]), seed=[1, 2], area_range=(1.0, 1.0)
    )
    assert begin.numpy().tolist() == [0, 0, 0]
    assert size.numpy().tolist() == [30, 41, -1]


@pytest.mark.parametrize("probability", [0.0, 1e-12, 1.0])
def test_never_and_always_are_exact(draw_many, probability):
    rules = dataclasses.replace(
        ALL,
        flip_probability=probability,
        vertical_flip_probability=probability,
        solarize_probability=probability,
        jitter_probability=probability,
    )
    drawn = draw_many(lambda seed: sampling.draw_numbers(seed, 1.0, rules), 200)
    drawn = [sampling.read(numbers, channels=3) for numbers in drawn]
    always = probability == 1.0
    assert {bool(d.flip) for d in drawn} == {always}
    assert {bool(d.vertical_flip) for d in drawn} == {always}
    assert {bool(d.solarize) for d in drawn} == {always}
    assert {int(d.jitter_order) < 24 for d in drawn} == {always}


def test_rules_without_more_draw_what_was_always_drawn():
    """The numbers of earlier runs stay: further ones are only appended."""
    nine = sampling.draw_numbers(tf.constant([3, 4]), 1.0)
    fourteen = sampling.draw_numbers(
        tf.constant([3, 4]), 1.0, ViewRules(quarter_turns=True)
    )
    assert (len(nine), len(fourteen)) == (9, 14)
    np.testing.assert_array_equal(nine, fourteen[:9])


def test_defaults_of_the_settings_are_the_papers():
    assert views.rules_of(AugmentationConfig()) == ViewRules()


def test_turns_of_views_that_are_not_square_are_refused():
    image = image_of(9, 9)
    for backend in augmentations.BACKENDS.values():
        with pytest.raises(ValueError, match="square"):
            backend.views(
                image,
                seed=[0, 0],
                num_views=2,
                image_size=(8, 9),
                rules=ViewRules(quarter_turns=True),
            )
