import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import policy

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 256, (21, 30, 3), np.uint8)
HARD = RANDOM.choice(np.array([0, 255], np.uint8), (25, 19, 3))  # overshoots a lot


def views(image, seed, **kwargs):
    return augmentations.two_views(image, seed=seed, **{"image_size": 24, **kwargs})


def test_tf_data_gives_what_eager_gives(draw_many):
    for kwargs in ({}, {"use_blur": False, "strength": 0.5}):
        mapped = draw_many(lambda s, kwargs=kwargs: views(PHOTO, s, **kwargs), 20)
        for i in range(20):
            for one, other in zip(views(PHOTO, [0, i], **kwargs), mapped, strict=True):
                np.testing.assert_allclose(one, other[i], atol=5e-6)


def test_tf_function_gives_what_eager_gives_on_any_device():
    mapped = tf.function(lambda seed: views(PHOTO, seed))
    for i in range(6):
        with tf.device(f"/cpu:{i % 2}"):
            pairs = zip(views(PHOTO, [1, i]), mapped(tf.constant([1, i])), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=5e-6)


def test_same_seed_same_views_other_seed_other_views(draw_many):
    first, second = draw_many(lambda s: views(PHOTO, s), 50)
    again = draw_many(lambda s: views(PHOTO, s), 50)
    other, _ = draw_many(lambda s: views(PHOTO, s), 50, start=1)
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(second, again[1])
    everything = np.concatenate([first, second, other]).reshape(150, -1)
    assert len(np.unique(np.round(everything, 4), axis=0)) == 150


def test_views_do_not_depend_on_parallel_calls():
    seeds = tf.data.Dataset.range(30).map(lambda i: tf.stack([tf.cast(i, tf.int32), 5]))
    alone = seeds.map(lambda s: views(PHOTO, s)).batch(30)
    parallel = seeds.map(lambda s: views(PHOTO, s), num_parallel_calls=4).batch(30)
    for one, other in zip(next(iter(alone)), next(iter(parallel)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_views_stay_in_range_whatever_is_drawn(draw_many, strength):
    for image in (HARD, HARD.astype(np.float32) / 255):
        drawn = draw_many(
            lambda s, image=image: views(image, s, strength=strength), 150
        )
        for view in drawn:
            assert view.dtype == np.float32 and view.shape == (150, 24, 24, 3)
            assert np.isfinite(view).all() and view.min() >= 0 and view.max() <= 1


def test_float_and_uint8_input_agree(draw_many):
    scaled = PHOTO.astype(np.float32) / 255
    one = draw_many(lambda s: views(PHOTO, s), 60)
    two = draw_many(lambda s: views(scaled, s), 60)
    np.testing.assert_allclose(one, two, atol=1e-5)
    for function in (
        lambda x: augmentations.eval_view(x, image_size=40),
        lambda x: augmentations.finetune_view(x, seed=[3, 4], image_size=40),
    ):
        np.testing.assert_allclose(function(PHOTO), function(scaled), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (50, 2, 3), (31, 64, 3)])
def test_any_shape_of_image_gives_square_views(shape):
    image = RANDOM.integers(0, 256, shape, np.uint8)
    for i in range(4):
        for view in views(image, [7, i]):
            assert view.shape == (24, 24, 3) and np.isfinite(view).all()
        tuned = augmentations.finetune_view(image, seed=[7, i], image_size=24)
        assert tuned.shape == (24, 24, 3)
    for image_size in (24, 40):
        view = augmentations.eval_view(image, image_size=image_size)
        assert view.shape == (image_size, image_size, 3)


def test_images_of_unknown_shape_work_in_tf_data():
    def image(i):
        return tf.cast(tf.fill([5 + i, 3 + i, 3], i), tf.uint8)

    dataset = tf.data.Dataset.range(9).map(lambda i: image(tf.cast(i, tf.int32)))
    dataset = dataset.map(
        lambda x: (*views(x, [0, 1]), policy.eval_view(x, image_size=24))
    )
    for spec in dataset.element_spec:
        assert spec.shape == (24, 24, 3)
    assert len(list(dataset)) == 9


def test_strength_zero_leaves_colours_alone_except_for_grayscale(draw_many):
    image = np.full((20, 20, 3), (200, 100, 50), np.uint8)
    first, _ = draw_many(lambda s: views(image, s, strength=0.0, use_blur=False), 200)
    colour = np.array([200, 100, 50]) / 255
    gray = np.full(3, colour @ [0.2989, 0.587, 0.114])
    same = abs(first - colour).max((1, 2, 3)) < 1e-5
    dropped = abs(first - gray).max((1, 2, 3)) < 1e-5
    assert np.all(same | dropped) and 0.1 < dropped.mean() < 0.3


def test_finetune_view_crops_and_flips_only(draw_many):
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32)[:, None], (40, 1, 3))
    ramp[..., 1] = ramp[..., 0].T
    tuned = draw_many(
        lambda s: augmentations.finetune_view(ramp, seed=s, image_size=20), 300
    )
    down = np.diff(tuned[..., 1], axis=1).mean((1, 2))
    right = np.diff(tuned[..., 0], axis=2).mean((1, 2))
    assert np.all(down > 0)
    assert 0.4 < (right > 0).mean() < 0.6
    assert np.std(abs(right)) > 1e-3


def test_eval_view_of_a_small_square_image_is_the_image():
    image = RANDOM.integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_allclose(
        augmentations.eval_view(image, image_size=32), image / 255, atol=1e-6
    )


def test_views_too_small_for_a_blur_kernel_say_so(caplog):
    views(PHOTO, [0, 0], image_size=19, use_blur=False)
    assert not caplog.records
    views(PHOTO, [0, 0], image_size=19)
    assert "19" in caplog.text


def test_three_channel_views_of_a_seed_never_change():
    """Drawn when the first version was released; runs must stay repeatable."""
    with np.load(pathlib.Path(__file__).parent / "pinned_views.npz") as pinned:
        image, expected = pinned["image"], pinned["views"] / 65535
    for i, pair in enumerate(expected):
        actual = augmentations.two_views(image, seed=[11, i], image_size=20)
        np.testing.assert_allclose(np.stack(actual), pair, rtol=0, atol=1.2e-5)


@pytest.mark.parametrize("num_views", [1, 5])
def test_more_views_begin_with_the_two(num_views, draw_many):
    kwargs = {"image_size": 24}
    many = draw_many(
        lambda s: augmentations.views(PHOTO, seed=s, num_views=num_views, **kwargs), 8
    )
    two = draw_many(lambda s: views(PHOTO, s), 8)
    assert len(many) == num_views
    for one, other in zip(many, two, strict=False):
        np.testing.assert_array_equal(one, other)
    flat = np.concatenate(many).reshape(8 * num_views, -1)
    assert len(np.unique(np.round(flat, 4), axis=0)) == 8 * num_views
    eager = augmentations.views(PHOTO, seed=[0, 3], num_views=num_views, **kwargs)
    for one, other in zip(eager, many, strict=True):
        np.testing.assert_allclose(one, other[3], atol=5e-6)


def test_view_seeds_give_the_views_one_by_one():
    seeds = augmentations.view_seeds(tf.constant([4, 2]), num_views=3)
    expected = augmentations.views(PHOTO, seed=[4, 2], num_views=3, image_size=24)
    for seed, view in zip(seeds, expected, strict=True):
        actual = augmentations.pretrain_view(PHOTO, seed=seed, image_size=24)
        np.testing.assert_array_equal(actual, view)


def test_local_crops_take_small_parts_and_global_ones_do_not():
    """A horizontal ramp: the spread of a view tells how wide its window was."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], [64, 1, 3])

    def widths(**settings):
        found = []
        for number in range(40):
            window = augmentations.views(
                tf.constant(ramp),
                seed=tf.constant([number, 7]),
                num_views=1,
                image_size=16,
                strength=0.0,
                use_blur=False,
                **settings,
            )[0]
            found.append(float(tf.reduce_max(window) - tf.reduce_min(window)))
        return np.array(found)

    small = augmentations.ViewRules(crop_area=augmentations.LOCAL_AREA_RANGE)
    local = widths(rules=small)
    # Area at most 0.14 and aspect at most 4/3: sqrt(0.14 * 4 / 3) = 0.43 of the width.
    assert local.max() < 0.45 and local.min() > 0.1
    assert widths().mean() > 0.5
