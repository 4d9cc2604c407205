"""Images that Python libraries read: TIFF, PNM, .npy tiles and DICOM.

TensorFlow has no decoder for them. Each has a module of its own; here they have one
interface. Their values may be of any type: what is black and white is decided by
``pixel_range`` for the whole data set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simclr_tf2.data import (
    dicom_files,
    npy_files,
    pixel_range,
    pnm_files,
    tiff_files,
)
from simclr_tf2.data.unreadable import BadImage

FORMATS = ("tiff", "pnm", "npy", "dcm")
# What ``read_for_range`` returned, beside the pixels.
EIGHT_BITS, SIXTEEN_BITS, IN_RANGE = 0, 1, 2


def format_of(contents: bytes) -> str:
    """Return which of ``FORMATS`` bytes begin like; "" for none of them."""
    if dicom_files.is_dicom(contents):
        return "dcm"
    if contents.startswith(npy_files.MAGIC):
        return "npy"
    if contents[:2] in pnm_files.MAGIC:
        return "pnm"
    return "tiff" if contents[:4] in tiff_files.MAGIC else ""


def read(contents: bytes) -> np.ndarray:
    """Read the values of an image, upright: [h, w, c] of the type that it has.

    Raises:
        BadImage: Damaged bytes.
    """
    kind = format_of(contents)
    readers = {
        "tiff": tiff_files.read,
        "pnm": pnm_files.read,
        "npy": npy_files.read,
        "dcm": dicom_files.read,
    }
    if kind not in readers:
        raise BadImage("not an image of a kind that is read")
    return readers[kind](contents)


def read_8_bit(contents: bytes) -> np.ndarray:
    """Read the pixels, of 16 bits only the upper 8: uint8 [h, w, c].

    A DICOM image is read through its window.
    """
    if format_of(contents) == "dcm":
        return (_dicom(contents, pixel_range.FULL) >> 8).astype(np.uint8)
    pixels = read(contents)
    return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)


def read_for_range(contents: Any, *, pixels: str) -> tuple[np.ndarray, np.int32]:
    """Read an image of a data set whose range is decided.

    Args:
        contents: The file; outside of a graph TensorFlow gives it as an array.
        pixels: What ``pixel_range.resolve`` gave.

    Returns:
        uint16 [h, w, c], and what they are: ``EIGHT_BITS`` or ``SIXTEEN_BITS``, as
        stored, or ``IN_RANGE``: 0 and 65535 are the ends of the range.
    """
    contents = np.asarray(contents, object).item()
    if format_of(contents) == "dcm":
        return _dicom(contents, pixels), np.int32(IN_RANGE)
    values = read(contents)
    if values.dtype == np.uint8:
        return values.astype(np.uint16), np.int32(EIGHT_BITS)
    if values.dtype == np.uint16:
        return values, np.int32(SIXTEEN_BITS)
    return _in_range(values, pixels), np.int32(IN_RANGE)


def _in_range(values: np.ndarray, setting: str) -> np.ndarray:
    """Convert values of any type to uint16, where 0 and 65535 are a range's ends."""
    found = pixel_range.to_pixels(values[np.newaxis], setting)[0]
    widened: np.ndarray = found.astype(np.uint16)  # a copy
    if found.dtype == np.uint8:
        widened *= 257
    return widened


def _dicom(contents: bytes, setting: str) -> np.ndarray:
    """Read a DICOM image: through its window, unless a range LO,HI is set."""
    if setting in (pixel_range.AUTO, pixel_range.FULL):
        values, shown, inverted = dicom_files.read_shown(contents)
    else:
        shown, inverted = False, dicom_files.is_inverted(contents)
        values = dicom_files.read(contents)
    found = _in_range(values, pixel_range.FULL if shown else setting)
    if inverted:
        np.subtract(65535, found, out=found)
    return found
