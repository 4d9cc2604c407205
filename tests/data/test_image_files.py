"""Decoding: any format, any channels, every orientation."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from simclr_tf2.data import image_files, image_headers

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def _picture(height=5, width=7):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 40, y * 60, 255 - x * 40], -1).astype("uint8")


def _rgba():
    alpha = np.arange(35, dtype="uint8").reshape(5, 7, 1) * 7
    return np.concatenate([_picture(), alpha], -1)


def _encode(pixels, kind, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _animation(kind, pixels, **options):
    second = Image.fromarray(pixels[::-1].copy())
    return _encode(
        pixels, kind, save_all=True, append_images=[second], duration=9, **options
    )


_IMAGE = Image.fromarray(_picture())
LOSSLESS = {
    "png": _encode(_picture(), "PNG"),
    "bmp": _encode(_picture(), "BMP"),
    "gif": _encode(_picture(), "GIF"),
    "webp": _encode(_picture(), "WEBP", lossless=True),
    "rgba png": _encode(_rgba(), "PNG"),
    "rgba webp": _encode(_rgba(), "WEBP", lossless=True, exact=True),
    "gray png": _encode(_picture()[..., 0], "PNG"),
    "gray bmp": _encode(_picture()[..., 0], "BMP"),
    "gray alpha png": _encode(_rgba()[..., 2:], "PNG"),
    "1 bit png": _encode(_IMAGE.convert("1"), "PNG"),
    "1 bit bmp": _encode(_IMAGE.convert("1"), "BMP"),
    "palette png": _encode(_IMAGE.quantize(16), "PNG"),
    "palette png of 2 bits": _encode(_IMAGE.quantize(4), "PNG", bits=2),
    "transparent palette png": _encode(_IMAGE.quantize(16), "PNG", transparency=2),
    "palette bmp": _encode(_IMAGE.quantize(64), "BMP"),
    "animated gif": _animation("GIF", _picture()),
    "animated webp": _animation("WEBP", _picture(), lossless=True),
    "animated rgba webp": _animation("WEBP", _rgba(), lossless=True, exact=True),
}


@pytest.mark.parametrize("channels", _MODES)
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_equal_pillow(name, channels):
    with Image.open(io.BytesIO(LOSSLESS[name])) as image:
        expected = np.asarray(image.convert(_MODES[channels])).reshape(5, 7, channels)
    tolerance = 1 if channels == 1 else 0  # Pillow truncates its gray
    found = image_files.decode(LOSSLESS[name], channels=channels)
    assert found.dtype == tf.uint8
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_tf_data_gives_what_eager_execution_gives():
    contents = list(LOSSLESS.values())
    orientations = np.arange(len(contents), dtype=np.uint8) % 8 + 1

    def decode(content, orientation):
        return [
            image_files.decode(content, channels=channels, orientation=orientation)
            for channels in _MODES
        ]

    dataset = tf.data.Dataset.from_tensor_slices((contents, orientations)).map(decode)
    assert [spec.shape[2] for spec in dataset.element_spec] == list(_MODES)
    for row, found in enumerate(dataset):
        expected = decode(contents[row], orientations[row])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert row == len(contents) - 1


def test_gray_of_color_is_rounded_luma():
    expected = np.round(_picture() @ np.array([0.299, 0.587, 0.114]))
    found = image_files.decode(LOSSLESS["png"], channels=1)[..., 0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("channels", _MODES)
def test_jpeg_is_near_pillow(mode, channels):
    y, x = np.mgrid[:24, :40]
    smooth = np.stack([x * 6, y * 10, 240 - x * 3 - y * 4], -1).astype("uint8")
    contents = _encode(Image.fromarray(smooth).convert(mode), "JPEG")
    with Image.open(io.BytesIO(contents)) as image:
        expected = np.asarray(image.convert("RGB").convert(_MODES[channels]))
    found = image_files.decode(contents, channels=channels).numpy().astype(int)
    difference = found - expected.reshape(24, 40, channels)
    assert np.abs(difference).max() <= 6  # another inverse DCT and upsampling
    assert np.abs(difference).mean() < 1.5


def test_sixteen_bits_keep_the_upper_eight():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = image_files.decode(_encode(ramp, "PNG"), channels=1)[..., 0]
    np.testing.assert_array_equal(found, ramp >> 8)


@pytest.mark.parametrize("bottom_up", [True, False])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palette_bmp_of_any_depth_and_direction(bits, bottom_up):
    width, height, count = 5, 3, 2**bits
    rng = np.random.default_rng(bits)
    palette = rng.integers(0, 256, (count, 3), "uint8")
    indices = rng.integers(0, count, (height, width))
    rows = b""
    for row in indices[::-1] if bottom_up else indices:
        digits = "".join(f"{i:0{bits}b}" for i in row)
        padded = digits.ljust(-(-len(digits) // 32) * 32, "0")
        rows += int(padded, 2).to_bytes(len(padded) // 8, "big")
    colors = b"".join(bytes([b, g, r, 0]) for r, g, b in palette)
    offset = 54 + len(colors)
    signed = height if bottom_up else -height
    header = struct.pack("<2sIII", b"BM", offset + len(rows), 0, offset)
    header += struct.pack("<IiiHHIIiiII", 40, width, signed, 1, bits, *[0] * 6)
    contents = header + colors + rows
    assert image_headers.parse(contents).complete
    np.testing.assert_array_equal(image_files.decode(contents), palette[indices])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_equals_pillow(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    contents = _encode(_picture(), "PNG", exif=exif)
    with Image.open(io.BytesIO(contents)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert image_headers.parse(contents).orientation == orientation
    np.testing.assert_array_equal(
        image_files.decode(contents, orientation=orientation), expected
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_header_finds_the_orientation_in_either_byte_order(kind, order):
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = 6
    contents = _encode(_picture(), kind, exif=exif.tobytes())
    assert image_headers.parse(contents).orientation == 6


@pytest.mark.parametrize("name", LOSSLESS)
def test_header_gives_the_decoded_size(name):
    header = image_headers.parse(LOSSLESS[name])
    assert (header.height, header.width, header.complete) == (5, 7, True)


@pytest.mark.parametrize(
    ("name", "channels", "bits"),
    [
        ("png", 3, 8),
        ("rgba png", 4, 8),
        ("gray png", 1, 8),
        ("gray alpha png", 2, 8),
        ("1 bit png", 1, 1),
        ("transparent palette png", 4, 4),
        ("rgba webp", 4, 8),
        ("palette bmp", 3, 8),
    ],
)
def test_header_gives_channels_and_bits(name, channels, bits):
    header = image_headers.parse(LOSSLESS[name])
    assert (header.channels, header.bits) == (channels, bits)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_beginning_of_a_file_is_refused_or_decoded(name):
    whole = LOSSLESS[name]
    for length in range(0, len(whole), 17):
        cut = whole[:length]
        try:
            image_headers.parse(cut)
        except image_headers.BadImage as error:
            assert str(error)
        try:
            assert image_files.decode(cut).shape == (5, 7, 3)
        except tf.errors.InvalidArgumentError:
            pass


def test_jpeg_of_endless_scans_is_refused():
    contents = _encode(_picture(), "JPEG", progressive=True)
    assert image_headers.parse(contents).complete
    scan = contents.index(b"\xff\xda")
    bomb = contents[:scan] + 101 * contents[scan:-2]
    with pytest.raises(image_headers.BadImage, match="scans"):
        image_headers.parse(bomb)


def test_unknown_contents_are_named():
    for contents, words in (
        (b"", "empty"),
        (b"\xef\xbb\xbf <!DOCTYPE HTML>", "HTML"),
        (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"hello, world", "starts with b'hello, w'"),
        (b"\xff\xd8\xff\xc3\0\x11\x08\0\x05\0\x07\x03", "lossless"),
        (
            b"\xff\xd8\xff\xc0\0\x11\x0c\0\x05\0\x07\x03\0\0\0\0\0\0\0\0\0\xff\xda\0\0",
            "12",
        ),
    ):
        with pytest.raises(image_headers.BadImage, match=words):
            image_headers.parse(contents)
