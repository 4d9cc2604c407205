"""TIFF images by Pillow: TensorFlow has no decoder for them.

The first page is read, turned upright by its own tag. Pillow opens a file without its
pixels, so that its size is known before anything of that size is allocated.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

# Pillow warns of damage; what that means for the image is said by BadTiff.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_ORIENTATION = 0x0112
_LENGTHS = {0x0111: 0x0117, 0x0144: 0x0145}  # offsets -> lengths of strips and tiles
_CHANNELS = {"1": 1, "L": 1, "P": 3, "LA": 2, "PA": 4, "RGBA": 4}  # others: 3


class BadTiff(ValueError):
    """Error that says in one line why bytes are no TIFF image that can be used."""


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
            raise BadTiff(
                "TIFF of a kind of pixels that is not read (more than 4 channels?); "
                "convert it to 8 or 16 bits and 1, 3 or 4 channels, or give arrays"
            ) from error
        raise BadTiff("TIFF with a damaged or cut off header") from error


def shape_of(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int, int, int]:
    """Return (height, width, channels, bits) of the upright image.

    Raises:
        BadTiff: Numbers of 32 bits or floats, which have no fixed range.
    """
    if image.mode in ("I", "F"):
        raise BadTiff(
            "TIFF of 32-bit or float numbers, which have no fixed range; convert it "
            "to 8 or 16 bits"
        )
    width, height = (int(image.tag_v2[tag]) for tag in (0x0100, 0x0101))
    if image.tag_v2.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        height, width = width, height
    gray_16 = image.mode.startswith("I;16")
    channels = 1 if gray_16 else _CHANNELS.get(image.mode, 3)
    return height, width, channels, 16 if gray_16 else 8


def is_complete(image: TiffImagePlugin.TiffImageFile, size: int) -> bool:
    """Return whether ``size`` bytes hold all that the first page points to."""
    for offsets, lengths in _LENGTHS.items():
        starts, counts = image.tag_v2.get(offsets, ()), image.tag_v2.get(lengths, ())
        starts, counts = (
            (x if isinstance(x, tuple) else (x,)) for x in (starts, counts)
        )
        ends = [int(a) + int(n) for a, n in zip(starts, counts, strict=False)]
        if ends and max(ends) > size:
            return False
    return True


def read(contents: bytes) -> np.ndarray:
    """Read the pixels of the first page, upright: uint8 or uint16 [h, w, 1 to 4].

    Palettes, CMYK, YCbCr and the like become RGB; one bit becomes 0 and 255.

    Raises:
        BadTiff: Damaged bytes.
    """
    opened = open_tiff(contents)
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


def read_8_bit(contents: bytes) -> np.ndarray:
    """Read the pixels, of 16 bits only the upper 8: uint8 [h, w, 1 to 4]."""
    pixels = read(contents)
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def read_wide(contents: bytes) -> tuple[np.ndarray, np.bool_]:
    """Read the pixels as uint16 [h, w, 1 to 4], and whether they had 16 bits."""
    pixels = read(contents)
    return pixels.astype(np.uint16), np.bool_(pixels.dtype == np.uint16)
