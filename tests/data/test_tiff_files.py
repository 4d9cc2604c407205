"""TIFF by Pillow: kinds of pixels, orientation, pages, damage; through the pipeline."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf2.config import DataConfig
from simclr_tf2.data import (
    image_files,
    image_headers,
    image_sets,
    pipeline,
    stored_images,
    tiff_files,
    wide_tiff_files,
)
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError

RGB = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
PICTURE = Image.fromarray(RGB)


def encoded(image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]
)
def test_lossless_compressions_give_the_pixels(compression):
    contents = encoded(RGB, compression=compression)
    np.testing.assert_array_equal(image_files.decode(contents), RGB)


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (RGB[..., 0], 1, RGB[..., :1]),
        (np.dstack([RGB, RGB[..., 0]]), 4, np.dstack([RGB, RGB[..., 0]])),
        (np.dstack([RGB, RGB[..., 0]]), 3, RGB),
        (RGB[..., 0].astype(np.uint16) * 256 + 99, 1, RGB[..., :1]),
        (PICTURE.convert("1"), 1, np.asarray(PICTURE.convert("1"))[..., None] * 255),
        (PICTURE.quantize(9), 3, np.asarray(PICTURE.quantize(9).convert("RGB"))),
        (PICTURE.convert("CMYK"), 3, RGB),
    ],
    ids=("gray", "alpha kept", "alpha dropped", "16 bits", "1 bit", "palette", "CMYK"),
)
def test_kinds_of_pixels(image, channels, expected):
    found = image_files.decode(encoded(image), channels=channels)
    np.testing.assert_array_equal(found, expected)


def test_16_bits_are_handed_over_whole():
    gray = RGB[..., 0].astype(np.uint16) * 256 + 99
    pixels = tiff_files.read(encoded(gray))
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, gray[..., None])
    assert image_headers.parse(encoded(gray)).bits == 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_turns_the_image_as_orient_does(orientation):
    contents = encoded(RGB, tiffinfo={0x0112: orientation})
    expected = image_files.orient(tf.constant(RGB), orientation)
    np.testing.assert_array_equal(image_files.decode(contents), expected)
    header = image_headers.parse(contents)
    assert (header.height, header.width) == expected.shape[:2]
    assert header.orientation == 1  # nothing is left to turn


def test_the_first_page_is_read_and_the_others_are_not_counted():
    more = [Image.fromarray(255 - RGB)] * 2
    contents = encoded(PICTURE, save_all=True, append_images=more)
    np.testing.assert_array_equal(image_files.decode(contents), RGB)
    assert image_headers.parse(contents).pixels == 77


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_numbers_that_pillow_does_not_read_name_the_package(kind, monkeypatch):
    monkeypatch.setattr(wide_tiff_files, "is_installed", lambda: False)
    with pytest.raises(
        image_headers.BadImage, match=r"pip install 'simclr-tf2\[tiff\]'"
    ):
        image_headers.parse(encoded(RGB[..., 0].astype(kind)))


def test_a_larger_image_than_pillow_allows_has_a_header(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert image_headers.parse(encoded(RGB)).pixels == 77


def test_cut_off_files_are_one_line():
    contents = encoded(RGB)
    for length in range(4, len(contents), 37):
        try:
            header = image_headers.parse(contents[:length])
            assert not header.complete
        except image_headers.BadImage as error:
            assert "\n" not in str(error)


@pytest.fixture
def folder(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.tif").write_bytes(encoded(np.roll(RGB, i, axis=1)))
    Image.fromarray(RGB).save(tmp_path / "5.png")
    image_sets._open_image_set.cache_clear()
    return tmp_path


def data(folder, **changes):
    data_dir = str(folder / "cache")
    return DataConfig(image_dir=str(folder), data_dir=data_dir, **changes)


@pytest.mark.parametrize("cache", ["auto", "encoded", "off"])
def test_tiff_and_png_become_views_together(folder, cache):
    split = image_sets.open_image_set(data(folder)).open("train")
    assert split.num_examples == 6 and split.image_shape == (7, 11, 3)
    (batch,) = pipeline.make_pretrain_dataset(
        split,
        pipeline.plan_batches(split, 6),
        ViewSpec(image_size=8, strength=0.5, use_blur=False),
        seed=0,
        cache=cache,
    ).take(1)
    assert batch["views"][0].shape == (6, 8, 8, 3)
    assert np.isfinite(batch["views"][0]).all()


def test_a_tiff_over_the_cap_is_never_decoded(folder, monkeypatch):
    monkeypatch.setattr(stored_images, "read", lambda _: pytest.fail("decoded"))
    settings = data(folder, max_image_pixels=76, max_bad_fraction=1.0)
    images = image_sets.look_at(settings)
    assert not images.index.good.any()
    assert "7x11 pixels exceed the cap" in images.index.error[0]


def test_a_data_service_refuses_tiff_before_training(folder):
    with pytest.raises(ConfigError, match="TIFF.*--data_service"):
        image_sets.open_image_set(data(folder, data_service="grpc://localhost:5000"))
