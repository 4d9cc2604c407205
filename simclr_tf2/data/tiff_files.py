"""TIFF images by Pillow: TensorFlow has no decoder for them.

The first page is read, turned upright by its own tag. Pillow opens a file without its
pixels, so that its size is known before anything of that size is allocated. What Pillow
does not read, or cuts to 8 bits, is read by tifffile (``wide_tiff_files``).
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from simclr_tf2.data import once, wide_tiff_files
from simclr_tf2.data.unreadable import BadImage

# Pillow warns of damage; what that means for the image is said by BadTiff.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106
_CONVERTED = (5, 6, 8)  # CMYK, YCbCr, CIELab: Pillow makes RGB of them
_LENGTHS = {0x0111: 0x0117, 0x0144: 0x0145}  # offsets -> lengths of strips and tiles
_CHANNELS = {"1": 1, "L": 1, "P": 3, "LA": 2, "PA": 4, "RGBA": 4}  # others: 3


class BadTiff(BadImage):
    """Error that says in one line why bytes are no TIFF image that can be used."""


class _OtherPixels(BadTiff):
    """Error of a kind of pixels that Pillow does not know."""


def facts_of(contents: bytes) -> tuple[int, int, int, str]:
    """Return (height, width, channels, type of the values) of the upright image.

    Raises:
        BadTiff: Damaged.
        MissingReader: Numbers of a kind that tifffile reads, which is not installed.
    """
    try:
        image = open_tiff(contents)
    except _OtherPixels:
        return wide_tiff_files.facts_of(contents)
    if _needs_tifffile(image):
        return wide_tiff_files.facts_of(contents)
    height, width, channels, bits = shape_of(image)
    return height, width, channels, f"uint{bits}"


def _needs_tifffile(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether Pillow does not read the numbers, or not all of their bits."""
    if image.mode in ("I", "F"):
        return True
    gray_16 = image.mode.startswith("I;16")
    if gray_16 or max(image.tag_v2.get(_BITS, (1,))) <= 8:
        return False
    if image.tag_v2.get(_PHOTOMETRIC) in _CONVERTED:
        return False
    if wide_tiff_files.is_installed():
        return True
    once.warn(
        "TIFF images of several channels of 16 bits are read with 8 bits; all 16 are "
        f"kept after {wide_tiff_files.INSTALL}"
    )
    return False


def open_tiff(contents: bytes) -> TiffImagePlugin.TiffImageFile:
    """Open a TIFF by the header of its first page; no pixel is read.

    Raises:
        BadTiff: Damaged, or pixels of a kind that Pillow does not know.
    """
    try:
        # Not Image.open: its own cap on pixels is not --max_image_pixels.
        return TiffImagePlugin.TiffImageFile(io.BytesIO(contents))
    except Exception as error:  # SyntaxError, KeyError, struct.error, ...
        if "unknown pixel mode" in str(error):
            raise _OtherPixels("TIFF of a kind of pixels that is not read") from error
        raise BadTiff("TIFF with a damaged or cut off header") from error


def shape_of(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int, int, int]:
    """Return (height, width, channels, bits) of the upright image as Pillow has it."""
    width, height = (int(image.tag_v2[tag]) for tag in (0x0100, 0x0101))
    if image.tag_v2.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        height, width = width, height
    gray_16 = image.mode.startswith("I;16")
    channels = 1 if gray_16 else _CHANNELS.get(image.mode, 3)
    return height, width, channels, 16 if gray_16 else 8


def is_complete(contents: bytes, size: int) -> bool:
    """Return whether ``size`` bytes hold all that the first page points to.

    Pages that Pillow does not open count as complete: they are decoded in any case.
    """
    try:
        tags = open_tiff(contents).tag_v2
    except _OtherPixels:
        return True
    for offsets, lengths in _LENGTHS.items():
        starts, counts = tags.get(offsets, ()), tags.get(lengths, ())
        starts, counts = (
            (x if isinstance(x, tuple) else (x,)) for x in (starts, counts)
        )
        ends = [int(a) + int(n) for a, n in zip(starts, counts, strict=False)]
        if ends and max(ends) > size:
            return False
    return True


def read(contents: bytes) -> np.ndarray:
    """Read the pixels of the first page, upright: [h, w, c].

    They are uint8 or uint16 with 1 to 4 channels if Pillow reads them; palettes, CMYK,
    YCbCr and the like become RGB, and one bit becomes 0 and 255. Otherwise they have
    the type and the channels of the file.

    Raises:
        BadTiff: Damaged bytes.
        MissingReader: tifffile reads them and is not installed.
    """
    try:
        opened = open_tiff(contents)
    except _OtherPixels:
        return wide_tiff_files.read(contents)
    if _needs_tifffile(opened):
        return wide_tiff_files.read(contents)
    *_, bits = shape_of(opened)
    try:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if bits == 16:
            return np.asarray(image).astype(np.uint16)[..., np.newaxis]
        if image.mode not in ("L", "LA", "RGB", "RGBA"):
            image = image.convert({"1": "L", "PA": "RGBA"}.get(image.mode, "RGB"))
    except Exception as error:  # OSError, ValueError, struct.error, ...
        raise BadTiff(f"TIFF that cannot be decoded: {error}") from error
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
