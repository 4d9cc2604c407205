"""TIFF images by tifffile, an optional package: ``pip install 'simclr-tf2[tiff]'``.

It reads what Pillow does not: several channels of 16 bits, floats, whole numbers of 32
bits, more than four channels. The compressions of these files need imagecodecs, which
the extra contains.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from typing import Any

import numpy as np

from simclr_tf2.data.npy_files import MOST_CHANNELS
from simclr_tf2.data.unreadable import BadImage, MissingReader

PACKAGE = "tifffile"
INSTALL = "pip install 'simclr-tf2[tiff]'"
_TURNS = {1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}


@functools.cache
def is_installed() -> bool:
    """Return whether tifffile can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def _page(contents: bytes) -> Any:
    """Open the first page, or the pages that are the channels of one image."""
    if not is_installed():
        raise MissingReader(
            "TIFF of floats, of numbers of 32 bits or of more than 4 channels, which "
            f"tifffile reads: {INSTALL}"
        )
    import tifffile

    try:
        return tifffile.TiffFile(io.BytesIO(contents)).pages[0]
    except Exception as error:  # TiffFileError, struct.error, IndexError, ...
        raise BadImage(f"TIFF that cannot be read: {_one_line(error)}") from error


def facts_of(contents: bytes) -> tuple[int, int, int, str]:
    """Return (height, width, channels, type of the values) of the upright image.

    Raises:
        BadImage: Damaged, or no image of numbers with one value a channel.
        MissingReader: tifffile is not installed.
    """
    page = _page(contents)
    kind = page.dtype
    if kind is None or kind.kind not in "uif":
        raise BadImage("TIFF of values that are no plain numbers; convert it")
    height, width = int(page.imagelength), int(page.imagewidth)
    if _orientation(page) >= 5:
        height, width = width, height
    channels = int(page.samplesperpixel)
    if channels > MOST_CHANNELS or page.imagedepth > 1:
        raise BadImage(f"TIFF of {channels} channels; at most {MOST_CHANNELS} are read")
    return height, width, channels, kind.newbyteorder("=").name


def read(contents: bytes) -> np.ndarray:
    """Read the values of the first page, upright: [h, w, c] of their own type.

    Raises:
        BadImage: Damaged, or a compression that needs another package.
        MissingReader: tifffile is not installed.
    """
    page = _page(contents)
    try:
        values = np.asarray(page.asarray())
    except Exception as error:  # ValueError, zlib.error, KeyError, ...
        raise BadImage(f"TIFF that cannot be decoded: {_one_line(error)}") from error
    if int(page.planarconfig) == 2 and values.ndim == 3:  # one plane a channel
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(page.imagelength, page.imagewidth, -1)
    orientation = _orientation(page)
    if orientation >= 5:
        values = values.transpose(1, 0, 2)
    values = np.flip(values, _TURNS[orientation])
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    value = 1 if tag is None else int(tag.value)
    return value if value in _TURNS else 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
