"""Tiles: one image in an .npy file, as ``numpy.save`` writes it."""

from __future__ import annotations

import io

import numpy as np

from simclr_tf2.data.unreadable import BadImage

MAGIC = b"\x93NUMPY"
_KINDS = "biuf"  # truth values, whole numbers, floats
MOST_CHANNELS = 64  # [ours] a last axis that is longer is no axis of channels


def header_of(contents: bytes) -> tuple[tuple[int, int, int], np.dtype, int]:
    """Read (shape [h, w, c], type, place of the first pixel) without any pixel.

    Raises:
        BadImage: Damaged, of Python objects, or not the shape of one image.
    """
    file = io.BytesIO(contents)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file)
    except Exception as error:  # KeyError, ValueError, SyntaxError, ...
        raise BadImage(".npy file with a damaged or cut off header") from error
    if dtype.kind not in _KINDS:
        raise BadImage(f".npy file of type {dtype}; an image has numbers")
    if len(shape) not in (2, 3):
        raise BadImage(
            f".npy file of shape {shape}; one image is [h, w] or [h, w, channels] "
            "(--dataset=FILE.npy reads an array of many images)"
        )
    height, width, channels = (*shape, 1)[:3]
    if channels > MOST_CHANNELS:
        raise BadImage(
            f".npy file of shape {shape}; the last axis of an image is its channels, "
            f"at most {MOST_CHANNELS}: np.moveaxis(image, 0, -1) moves them there"
        )
    return (height, width, channels), dtype, file.tell()


def is_complete(contents: bytes, size: int) -> bool:
    """Return whether ``size`` bytes hold all pixels."""
    shape, dtype, start = header_of(contents)
    return start + int(np.prod(shape)) * dtype.itemsize <= size


def read(contents: bytes) -> np.ndarray:
    """Read the pixels: [h, w, c] of their own type; truth values as uint8 0 and 255.

    Raises:
        BadImage: Damaged bytes.
    """
    shape, dtype, _ = header_of(contents)
    try:
        values: np.ndarray = np.load(io.BytesIO(contents), allow_pickle=False)
        values = values.reshape(shape)
    except Exception as error:  # ValueError, EOFError, OSError
        raise BadImage(f".npy file that cannot be read: {error}") from error
    if dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    return values.astype(dtype.newbyteorder("="), copy=False)
