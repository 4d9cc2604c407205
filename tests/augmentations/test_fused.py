"""Compiled views are those of policy, draw for draw, but for rounding."""

import itertools
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import (
    ViewRules,
    blur,
    color,
    crop,
    fused,
    policy,
    sampling,
)
from tests import command_line

pytest.importorskip("numba")
from simclr_tf2.augmentations import numba_draws, numba_kernels

RANDOM = np.random.default_rng(0)
ANY_SEED = RANDOM.integers(-(2**31), 2**31, [300, 2]).astype(np.int32)
TOLERANCE = {"rtol": 0, "atol": 5e-6}
LOCAL = ViewRules(crop_area=crop.LOCAL_AREA_RANGE)


def image_of(height, width, dtype=np.uint8):
    pixels = RANDOM.integers(0, 256, (height, width, 3))
    pixels[: height // 3] = pixels[: height // 3, :, :1]  # gray: hue has no meaning
    if dtype == np.float32:
        return (pixels / 255).astype(dtype)
    return (pixels * (np.iinfo(dtype).max // 255)).astype(dtype)


@pytest.mark.parametrize("seed", ANY_SEED[:20])
def test_words_are_those_of_tensorflow(seed):
    seeds = np.empty((5, 2), np.int32)
    numba_draws.split(seed, seeds)
    np.testing.assert_array_equal(seeds, tf.random.split(seed, 5))
    state = np.empty(11, np.uint64)
    numba_draws.start(seed, state)
    found = [numba_draws.uniform(state) for _ in range(13)]
    np.testing.assert_array_equal(found, tf.random.stateless_uniform([13], seed))


@pytest.mark.parametrize("aspect", [1.0, 1.7])
@pytest.mark.parametrize("areas", [crop.AREA_RANGE, crop.LOCAL_AREA_RANGE])
def test_windows_are_those_of_tensorflow(aspect, areas):
    limits = np.array(crop.aspect_range(aspect), np.float32)
    covered = np.float32(crop.least_covered(areas))
    random, whole = np.random.default_rng(1), 0
    for i, seed in enumerate(ANY_SEED):
        rows, columns = random.integers(1, (9, 60, 900)[i % 3], 2).tolist()
        if i < 60:  # a tenth of it is a whole number: the edge of what is covered
            rows, columns = ((8, 25), (40, 5), (10, 7))[i % 3]
        found = np.empty(4, np.int32)
        numba_draws.draw_window(
            seed, rows, columns, limits, np.float32(areas), covered, found
        )
        begin, size = crop.sample_crop_window(
            tf.constant([rows, columns, 3]), seed=seed, aspect=aspect, area_range=areas
        )
        assert found.tolist() == [*begin.numpy()[:2], *size.numpy()[:2]]
        whole += found[2:].tolist() == [rows, columns]
    assert 0 < whole < 200  # both ways through


VIEWS_FIRST = """
import numpy as np
from simclr_tf2.augmentations import crop, fused, numba_draws
image = np.zeros((1, 9, 9, 3), np.uint8)
fused.views_of_batch(image, index=np.zeros(1, int), seed=np.zeros((1, 2), np.int32),
                     num_views=1, image_size=5)
limits = np.array(crop.aspect_range(1.0), np.float32)
areas, covered = np.float32(crop.AREA_RANGE), np.float32(0.1)
window, found = np.empty(4, np.int32), []
for i in range(200):
    seed = np.array([i, 1], np.int32)
    numba_draws.draw_window(seed, 40, 5, limits, areas, covered, window)
    found.append(window.tolist())
print(found)
"""


@pytest.mark.slow
def test_windows_are_those_of_tensorflow_when_views_are_compiled_first(tmp_path):
    """What calls them may round freely; they may not, whoever asks for them first."""
    found = command_line.python(
        VIEWS_FIRST, NUMBA_CACHE_DIR=str(tmp_path), PYTHONPATH=str(command_line.ROOT)
    )
    wanted = []
    for i in range(200):
        begin, size = crop.sample_crop_window(
            tf.constant([40, 5, 3]), seed=[i, 1], aspect=1.0
        )
        wanted.append([*begin.numpy()[:2].tolist(), *size.numpy()[:2].tolist()])
    assert json.loads(found.splitlines()[-1]) == wanted


@pytest.mark.parametrize("source", [(40, 53), (9, 300)])
@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 24},
        {"image_size": (31, 66), "num_views": 3},
        {"image_size": 41, "use_blur": False, "rules": LOCAL},
        {"image_size": 80, "strength": 0.5},
        {"image_size": 12, "strength": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_views_are_those_of_policy(source, options, dtype):
    image = image_of(*source, dtype)
    for i in range(6):
        kwargs = {"seed": [5, i], "num_views": 2, **options}
        found = fused.views(image, **kwargs)
        wanted = policy.views(image, **kwargs)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == tf.float32 and one.shape == other.shape
            np.testing.assert_allclose(one, other, **TOLERANCE)


@pytest.mark.parametrize("radius", [1, 3, 11])
def test_every_order_and_choice_with_overshoot(radius):
    """Pixels beyond [0, 1], as the bicubic kernel makes them, in all orders."""
    side = 29  # the crop is the whole image, so nothing is resized
    window = RANDOM.uniform(-0.3, 1.3, (side, side, 3)).astype(np.float32)
    window[:9] = window[:9, :, :1]
    whole = np.array([[0, 0, side, side]], np.int32)
    choices = itertools.cycle(np.ndindex(2, 2, 2))
    orders = [*range(color.NO_JITTER + 1)] * 3
    for order, codes in zip(orders, choices, strict=False):
        low, high = [0.1, 0.3, 0.3, 0.3, -0.2], [2.0, 1.7, 1.7, 1.7, 0.2]
        drawn = np.array([order, *codes, *RANDOM.uniform(low, high)], np.float32)
        made = np.empty((1, 1, side, side, 3), np.float32)
        numba_kernels.make_given(
            window, whole, drawn[None], np.float32(1), radius, made, 0
        )
        wanted = policy._finish(
            tf.constant(window), tf.constant(drawn), scale=1.0, radius=radius
        )
        np.testing.assert_allclose(made[0, 0], wanted, **TOLERANCE)


@pytest.mark.parametrize("sigma", [0.1, 0.6, 1.1, 2.0])
def test_blur_is_a_convolution(sigma):
    """The taps that are left out lie below what float32 resolves."""
    from scipy import ndimage

    planes = RANDOM.uniform(0, 1, (3, 41, 57)).astype(np.float32)
    distance = np.arange(-11, 12)
    taps = np.exp(-0.5 * (distance / sigma) ** 2)
    taps /= taps.sum()
    wanted = planes.astype(float)
    for axis in (1, 2):
        wanted = ndimage.convolve1d(wanted, taps, axis, mode="constant")
    view = np.empty((41, 57, 3), np.float32)
    numba_kernels._blur(planes, np.float32(sigma), 11, False, view)
    np.testing.assert_allclose(view.transpose(2, 0, 1), wanted, rtol=0, atol=5e-7)


def test_many_images_at_once_are_each_of_them():
    images = np.stack([image_of(20, 30) for _ in range(5)])
    index, seeds = tf.constant([3, 0, 3, 4], tf.int64), tf.constant(ANY_SEED[:4])
    kwargs = {"num_views": 3, "image_size": (22, 21)}
    found = fused.views_of_batch(images, index=index, seed=seeds, **kwargs)
    for row in range(4):
        wanted = fused.views(images[index[row]], seed=seeds[row], **kwargs)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one[row], other)


def test_other_images_are_made_by_policy():
    kwargs = {"seed": [1, 2], "num_views": 2, "image_size": 16}
    for image in (image_of(9, 9)[..., :1], image_of(9, 9).astype(np.int32)):
        pairs = zip(
            fused.views(image, **kwargs), policy.views(image, **kwargs), strict=True
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_threads_of_an_input_pipeline_make_the_same_views(draw_many):
    image = image_of(30, 30)
    kwargs = {"num_views": 2, "image_size": 32}
    found = draw_many(lambda seed: fused.views(image, seed=seed, **kwargs), 40)
    wanted = draw_many(lambda seed: policy.views(image, seed=seed, **kwargs), 40)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **TOLERANCE)


def test_ranges_are_what_is_drawn():
    low, high = sampling.ranges(1.0)
    drawn = sampling.draw_numbers(tf.constant([3, 4]), 1.0)
    assert len(low) == len(drawn) and (drawn >= low).numpy().all()
    assert low[4] == np.float32(blur.SIGMA_RANGE[0]) and (drawn <= high).numpy().all()


def test_without_numba_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "simclr_tf2.augmentations.numba_kernels", None)
    monkeypatch.delattr("simclr_tf2.augmentations.numba_kernels", raising=False)
    fused.is_available.cache_clear()
    assert not fused.is_available()
    with pytest.raises(ImportError, match="pip install numba"):
        fused.views(image_of(9, 9), seed=[0, 0], num_views=2, image_size=8)
    monkeypatch.undo()
    fused.is_available.cache_clear()
    assert fused.is_available()


def test_without_a_folder_for_compiled_code_it_compiles_each_time(monkeypatch):
    njit, asked = numba_draws.numba.njit, []

    def no_locator(**options):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba_draws.numba, "njit", no_locator)
    assert numba_draws.compiler(fastmath=True)(lambda x: x + 1)(2) == 3
    assert asked == [
        {"nogil": True, "cache": True, "fastmath": True},
        {"nogil": True, "fastmath": True},
    ]
