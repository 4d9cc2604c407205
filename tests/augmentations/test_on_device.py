"""Views that the device finishes are those of policy, for all views of a batch."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import (
    ViewRules,
    color,
    crop,
    on_device,
    policy,
    sampling,
)

RANDOM = np.random.default_rng(0)
TOLERANCE = {"rtol": 0, "atol": 5e-6}
OPTIONS = [
    {"image_size": 22},
    {"image_size": (41, 26), "num_views": 3},
    {"image_size": 40, "rules": ViewRules(crop_area=crop.LOCAL_AREA_RANGE)},
    {"image_size": 12, "strength": 0.0},
    {"image_size": 21, "strength": 1.4},
]


def image_of(height, width, channels=3):
    pixels = RANDOM.integers(0, 256, (height, width, channels), np.uint8)
    pixels[: height // 3] = pixels[: height // 3, :, :1]  # gray: hue has no meaning
    return pixels


def finished(windows, numbers, **options):
    """What the device makes of lists of windows and numbers, one for each view."""
    run = tf.function(on_device.finish, autograph=False, **options)
    return run(tf.stack(windows), tf.stack(numbers), use_blur=True).numpy()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("backend", ["tf", "numba"])
def test_views_are_those_of_policy(backend, options):
    if backend == "numba":
        pytest.importorskip("numba")
    options = {"num_views": 2, **options}
    made_by = augmentations.BACKENDS[backend]
    wanted, windows, numbers = [], [], []
    for i in range(20):
        image, seed = image_of(30, 37), [3, i]
        wanted += policy.views(image, seed=seed, **options)
        parts = made_by.windows(image, seed=seed, **options)
        windows += parts[0]
        numbers += parts[1]
    found = finished(windows, numbers)
    np.testing.assert_allclose(found, np.stack(wanted), **TOLERANCE)
    drawn = np.stack(numbers)
    for column in (1, 2, 3):  # each choice went both ways
        assert 0 < np.sum(drawn[:, column] < 1) < len(drawn)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_orders_with_what_the_resize_overshoots(channels):
    low, high = sampling.ranges(1.0)
    windows, numbers, wanted = [], [], []
    for i in range(4 * (color.NO_JITTER + 1)):
        window = RANDOM.uniform(-0.3, 1.3, (20, 23, channels)).astype(np.float32)
        window[:9] = window[:9, :, :1]
        drawn = RANDOM.uniform(low, high).astype(np.float32)
        drawn[0] = i % (color.NO_JITTER + 1)
        windows.append(window)
        numbers.append(drawn)
        wanted.append(policy._finish(tf.constant(window), drawn, scale=1.0, radius=1))
    np.testing.assert_allclose(finished(windows, numbers), wanted, **TOLERANCE)


def test_xla_compiles_it():
    windows = RANDOM.uniform(-0.1, 1.1, (30, 22, 22, 3)).astype(np.float32)
    low, high = sampling.ranges(1.0)
    numbers = RANDOM.uniform(low, high, (30, 9)).astype(np.float32)
    compiled = finished(windows, numbers, jit_compile=True)
    np.testing.assert_allclose(compiled, finished(windows, numbers), **TOLERANCE)


def test_views_too_small_for_the_blur_are_told_of(caplog):
    policy.warn_without_blur.cache_clear()
    on_device.finish(tf.zeros([1, 13, 13, 3]), tf.ones([1, 9]), use_blur=True)
    assert "13 pixels are too small to be blurred" in caplog.text


def test_chunks_are_the_whole(monkeypatch):
    windows = RANDOM.uniform(0, 1, (20, 21, 21, 3)).astype(np.float32)
    low, high = sampling.ranges(1.0)
    numbers = RANDOM.uniform(low, high, (20, 9)).astype(np.float32)
    whole = finished(windows, numbers)
    monkeypatch.setattr(on_device, "CHUNK", 8)
    assert on_device._chunk_of(20) == 5
    assert on_device._chunk_of(19) == 19
    np.testing.assert_allclose(finished(windows, numbers), whole, **TOLERANCE)


def test_without_blur_nothing_is_blurred():
    image = image_of(40, 40)
    options = {"seed": [1, 2], "num_views": 8, "image_size": 40}
    windows, numbers = policy.windows(image, **options)
    batch = {"views": windows, "draws": numbers, "label": 7}
    batch["views"] = [window[None] for window in windows]
    batch["draws"] = [drawn[None] for drawn in numbers]
    for use_blur in (False, True):
        made = augmentations.finish_batch(batch, use_blur=use_blur)
        assert set(made) == {"views", "label"}
        wanted = policy.views(image, use_blur=use_blur, **options)
        for one, other in zip(made["views"], wanted, strict=True):
            np.testing.assert_allclose(one[0], other, **TOLERANCE)


def test_windows_in_float64_are_finished_in_float64():
    """Then a view does not depend on the others of its batch, but for 1e-13."""
    low, high = sampling.ranges(1.0)
    windows = RANDOM.random((24, 22, 22, 3))
    numbers = RANDOM.uniform(low, high, (24, len(low))).astype(np.float32)
    whole = finished(list(windows), list(numbers))
    single = finished(list(windows.astype(np.float32)), list(numbers))
    assert whole.dtype == np.float64 and single.dtype == np.float32
    np.testing.assert_allclose(whole, single, rtol=0, atol=5e-6)
    parts = [
        finished(list(windows[i : i + 3]), list(numbers[i : i + 3]))
        for i in range(0, 24, 3)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-13)
