"""Pixels of an encoded image as a TensorFlow graph: any of nine formats, any channels.

TensorFlow's decoder does most of it. What it gets wrong is handled here: an animated
WebP without alpha overruns its buffer (TensorFlow 2.21), a palette BMP gives the
indices as gray levels, a WebP with alpha has no three channels, a palette PNG asked
for four channels gives indices as alpha, and EXIF orientation is ignored. TIFF, PNM,
.npy and DICOM, which it has no decoder for, are read by Python (``stored_images``).

Rules, whatever the format: alpha is dropped, not blended, for 3 channels and for 1; it
is 255 where the file has none and 4 are asked for, and for every BMP (most writers
leave that byte undefined); gray is repeated; colour becomes gray as 0.299 R + 0.587 G +
0.114 B; CMYK becomes RGB; of an animation the first frame. Colour profiles are ignored.
Numbers of channels other than 1, 3 and 4 must be those of the file.
Of 16 bits ``decode`` keeps the upper 8, ``decode_wide`` those of a range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from simclr_tf2.data import pixel_range, stored_images

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG's own Y


def decode(
    contents: tf.Tensor,
    *,
    channels: int = 3,
    orientation: tf.Tensor | int | None = None,
) -> tf.Tensor:
    """Decode an encoded image to pixels; works eagerly and within tf.data.

    Call it for images whose header was read (``image_headers.parse``) only: the
    decoder allocates whatever size the header states.

    Args:
        contents: string scalar.
        channels: 1, 3 or 4; others if the file has them.
        orientation: EXIF orientation, 1 to 8, integer scalar; None turns nothing.

    Returns:
        uint8 [h, w, channels].

    Raises:
        tf.errors.InvalidArgumentError: Damaged bytes.
    """
    contents = tf.convert_to_tensor(contents, tf.string)
    pixels = tf.cond(
        tf.logical_not(_is_usual(contents)),
        lambda: _decode_others(contents, channels),
        lambda: decode_usual(contents, channels=channels),
    )
    pixels = tf.ensure_shape(pixels, [None, None, channels])
    return pixels if orientation is None else orient(pixels, orientation)


def decode_wide(
    contents: tf.Tensor,
    *,
    channels: int = 3,
    pixels: str,
    orientation: tf.Tensor | int | None = None,
) -> tf.Tensor:
    """Decode an image of a set with images of 16 bits: value of a range -> uint16.

    Args:
        contents: string scalar, as ``decode`` takes it.
        channels: 1, 3 or 4; others if the file has them.
        pixels: What ``pixel_range.resolve`` gave; images of 8 bits are 0 to 255 unless
            it lies within.
        orientation: EXIF orientation, 1 to 8, integer scalar; None turns nothing.

    Returns:
        uint16 [h, w, channels]; 0 and 65535 are the ends of the range.

    Raises:
        tf.errors.InvalidArgumentError: Damaged bytes.
    """
    contents = tf.convert_to_tensor(contents, tf.string)

    def sixteen() -> tf.Tensor:
        found = _to_channels(decode_sixteen(contents), channels)
        return pixel_range.scale(found, *pixel_range.limits(pixels, np.uint16))

    def eight() -> tf.Tensor:
        found = decode(contents, channels=channels)
        return pixel_range.scale(found, *pixel_range.limits(pixels, np.uint8))

    def stored() -> tf.Tensor:
        values, kind = tf.numpy_function(
            functools.partial(stored_images.read_for_range, pixels=pixels),
            [contents],
            (tf.uint16, tf.int32),
            stateful=False,
        )
        values = _to_channels(tf.ensure_shape(values, [None, None, None]), channels)
        narrow = tf.cast(values, tf.uint8)
        branches = {
            stored_images.EIGHT_BITS: lambda: pixel_range.scale(
                narrow, *pixel_range.limits(pixels, np.uint8)
            ),
            stored_images.SIXTEEN_BITS: lambda: pixel_range.scale(
                values, *pixel_range.limits(pixels, np.uint16)
            ),
            stored_images.IN_RANGE: lambda: values,
        }
        return tf.switch_case(kind, branches)

    tensorflows = tf.strings.regex_full_match(
        tf.strings.substr(contents, 0, 2), r"RI|BM"
    )
    found = tf.case(
        [
            (has_sixteen_bits(contents), sixteen),
            (_is_usual(contents) | tensorflows, eight),
        ],
        default=stored,
    )
    found = tf.ensure_shape(found, [None, None, channels])
    return found if orientation is None else orient(found, orientation)


def decode_sixteen(contents: tf.Tensor) -> tf.Tensor:
    """Decode a PNG as it is stored, to uint16 [h, w, channels of the file]."""
    return tf.io.decode_png(contents, dtype=tf.uint16)


def has_sixteen_bits(contents: tf.Tensor) -> tf.Tensor:
    """Return whether an encoded image is a PNG of 16 bits, bool scalar."""
    beginning = tf.strings.substr(contents, 0, 25)
    data = tf.io.decode_raw(beginning, tf.uint8)
    png = tf.strings.substr(contents, 0, 4) == b"\x89PNG"
    return png & tf.reduce_all(data[24:25] == 16)


def orient(pixels: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """Turn and mirror an image so that it is upright.

    Args:
        pixels: [h, w, c], any type.
        orientation: EXIF orientation, 1 to 8, integer scalar (EXIF 2.32 section 4.6.4).

    Returns:
        [h, w, c], or [w, h, c] for orientations 5 to 8.
    """
    orientation = tf.cast(orientation, tf.int32)

    def turned() -> tf.Tensor:
        upright = tf.cond(
            orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels
        )
        last = orientation % 4
        across = (last == 2) | (last == 3)  # 2, 3 mirrored; 6, 7 after the transpose
        down = (last == 3) | (last == 0)  # 3, 4; 7, 8
        return tf.reverse(upright, tf.where([down, across])[:, 0])

    result = tf.cond(orientation > 1, turned, lambda: pixels)
    return tf.ensure_shape(result, [None, None, pixels.shape[-1]])


def _is_usual(contents: tf.Tensor) -> tf.Tensor:
    """Return whether bytes begin as a JPEG, PNG or GIF, bool scalar."""
    first = tf.strings.substr(contents, 0, 1)
    return (first == b"\xff") | (first == b"\x89") | (first == "G")


def decode_usual(contents: tf.Tensor, *, channels: int = 3) -> tf.Tensor:
    """Decode a JPEG, PNG or GIF; eagerly in a fraction of the time of ``decode``.

    Args:
        contents: string scalar.
        channels: 1, 3 or 4.

    Returns:
        uint8 [h, w, channels].

    Raises:
        tf.errors.InvalidArgumentError: Damaged bytes.
    """
    wanted = 3 if channels == 3 else 0
    pixels = tf.io.decode_image(contents, channels=wanted, expand_animations=False)
    return pixels if channels == 3 else _to_channels(pixels, channels)


# Not inlined: TensorFlow would visit each op of the branch for every JPEG, too, which
# takes as long as decoding a small one.
@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _decode_others(contents: tf.Tensor, channels: int) -> tf.Tensor:
    start = tf.strings.substr(contents, 0, 2)

    def decoded(decode_one: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        return _to_channels(decode_one(contents), channels)

    return tf.cond(
        start == "BM",
        lambda: decoded(_decode_bmp),
        lambda: tf.cond(
            start == "RI",
            lambda: decoded(_decode_webp),
            lambda: decoded(_decode_stored),
        ),
    )


def _decode_stored(contents: tf.Tensor) -> tf.Tensor:
    """Decode an image that Python reads to pixels [h, w, c], upright."""
    # Not stateful: the same bytes are the same pixels.
    pixels = tf.numpy_function(
        stored_images.read_8_bit, [contents], tf.uint8, stateful=False
    )
    return tf.ensure_shape(pixels, [None, None, None])


def _decode_webp(contents: tf.Tensor) -> tf.Tensor:
    """Decode a WebP image to pixels [h, w, 3 or 4].

    TensorFlow writes RGBA frames into a buffer of three channels when the header of an
    animation does not announce alpha; announcing it makes the buffer large enough.
    """
    # Bytes rather than substrings: a substring out of range would put the contents
    # into the message of its error, which Python then fails to read as text.
    header = tf.io.decode_raw(tf.strings.substr(contents, 0, 21), tf.uint8)
    flags = header[20]
    animated = tf.reduce_all(header[12:16] == list(b"VP8X")) & (flags & 2 > 0)

    def announce_alpha() -> tf.Tensor:
        flag = tf.gather(_CHARACTERS, tf.cast(flags | 0x10, tf.int32))
        parts = [tf.strings.substr(contents, 0, 20), flag]
        parts.append(tf.strings.substr(contents, 21, tf.int32.max))
        return tf.strings.join(parts)

    contents = tf.cond(animated, announce_alpha, lambda: contents)
    return tf.io.decode_image(contents, expand_animations=False)


_CHARACTERS = [bytes([value]) for value in range(256)]


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """Decode a BMP of 24 or 32 bits, or with a palette, to pixels [h, w, 3]."""
    data = tf.io.decode_raw(contents, tf.uint8)
    bits = _number(data, 28, 2)
    return tf.cond(
        bits <= 8,
        lambda: _decode_palette_bmp(data, bits),
        lambda: tf.io.decode_image(contents, expand_animations=False)[..., :3],
    )


def _decode_palette_bmp(data: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decode uncompressed rows of 1, 4 or 8 bits an index, each padded to 4 bytes."""
    offset, header = _number(data, 10, 4), _number(data, 14, 4)
    width, height = _number(data, 18, 4), _number(data, 22, 4)
    rows, row_bytes = tf.abs(height), (width * bits + 31) // 32 * 4
    used = _number(data, 46, 4)
    palette = data[14 + header :]
    data = tf.reshape(data[offset : offset + rows * row_bytes], [rows, row_bytes, 1])
    shifts = tf.range(8 - bits, -1, -bits)  # the leftmost pixel is in the upper bits
    mask = tf.bitwise.left_shift(1, bits) - 1
    indices = tf.bitwise.right_shift(tf.cast(data, tf.int32), shifts) & mask
    indices = tf.reshape(indices, [rows, row_bytes * tf.size(shifts)])[:, :width]
    indices = tf.cond(height > 0, lambda: indices[::-1], lambda: indices)
    used = tf.where(used == 0, mask + 1, used)
    palette = tf.reshape(palette[: used * 4], [used, 4])
    return tf.gather(palette[:, 2::-1], indices)


def _number(data: tf.Tensor, start: int, count: int) -> tf.Tensor:
    """Read a little-endian signed number of 2 or 4 bytes as int32."""
    digits = tf.ensure_shape(data[start : start + count], [count])
    value = tf.bitcast(digits, tf.int32 if count == 4 else tf.uint16)
    return tf.cast(value, tf.int32)


def _to_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """Convert [h, w, 1 to 4] to [h, w, channels], by the rules atop this file."""
    if channels not in (1, 3, 4):
        return tf.ensure_shape(pixels, [None, None, channels])
    to = {1: _to_gray, 3: _to_rgb, 4: _to_rgba}[channels]
    have = tf.shape(pixels)[2]

    def convert(count: int) -> tf.Tensor:
        return to(tf.ensure_shape(pixels, [None, None, count]), count)

    branches = [functools.partial(convert, count) for count in (1, 2, 3, 4)]
    return tf.switch_case(have - 1, branches)


def _to_gray(pixels: tf.Tensor, count: int) -> tf.Tensor:
    if count <= 2:
        return pixels[..., :1]
    gray = tf.tensordot(tf.cast(pixels[..., :3], tf.float32), _GRAY, 1)
    return tf.cast(tf.round(gray), pixels.dtype)[..., tf.newaxis]


def _to_rgb(pixels: tf.Tensor, count: int) -> tf.Tensor:
    # Not tf.repeat, which does not know uint16.
    return tf.concat([pixels[..., :1]] * 3, axis=2) if count <= 2 else pixels[..., :3]


def _to_rgba(pixels: tf.Tensor, count: int) -> tf.Tensor:
    if count == 4:
        return pixels
    opaque = tf.constant(pixels.dtype.max, pixels.dtype)
    alpha = (
        pixels[..., 1:] if count == 2 else tf.fill(tf.shape(pixels[..., :1]), opaque)
    )
    return tf.concat([_to_rgb(pixels, count), alpha], axis=2)
