"""DICOM images by pydicom, an optional package: ``pip install 'simclr-tf2[dicom]'``.

A DICOM file may say which of its values are black and white: its window (VOI LUT).
Stored numbers become values by the rescale slope and intercept (modality LUT), such as
Hounsfield units. Source: DICOM PS3.3 sections C.11.1 and C.11.2, as pydicom applies
them.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from typing import Any

import numpy as np

from simclr_tf2.data.unreadable import BadImage, MissingReader

PACKAGE = "pydicom"
INSTALL = "pip install 'simclr-tf2[dicom]'"
SUFFIXES = (".dcm", ".dicom")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


@functools.cache
def is_installed() -> bool:
    """Return whether pydicom can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def is_dicom(contents: bytes) -> bool:
    """Return whether bytes begin like a DICOM file (PS3.10 section 7.1)."""
    return contents[128:132] == b"DICM"


def _open(contents: bytes, *, pixels: bool) -> Any:
    if not is_installed():
        raise MissingReader(f"a DICOM file, which pydicom reads: {INSTALL}")
    import pydicom

    try:
        return pydicom.dcmread(io.BytesIO(contents), stop_before_pixels=not pixels)
    except Exception as error:  # InvalidDicomError, EOFError, struct.error, ...
        raise BadImage(f"damaged DICOM file: {error}") from error


def _has_window(file: Any) -> bool:
    """Return whether a file says which of its values are black and white."""
    gray = str(file.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    window = None not in (file.get("WindowCenter"), file.get("WindowWidth"))
    return bool(gray and (window or file.get("VOILUTSequence")))


def header_of(contents: bytes) -> tuple[tuple[int, int, int], str, bool]:
    """Read (shape [h, w, c], type of the values, whether there is a window).

    Raises:
        BadImage: Damaged, or without an image.
        MissingReader: pydicom is not installed.
    """
    file = _open(contents, pixels=False)
    height, width = file.get("Rows"), file.get("Columns")
    if not height or not width:
        raise BadImage("DICOM file without an image (a report or a directory?)")
    color = file.get("PhotometricInterpretation") in _COLORS
    shape = (int(height), int(width), 3 if color else 1)
    return shape, _kind(file, color=color), _has_window(file)


def _kind(file: Any, *, color: bool) -> str:
    """Return the type of the values that ``read`` gives."""
    bits = int(file.get("BitsAllocated", 8))
    if not color:
        luts = file.get("ModalityLUTSequence")
        if luts:
            return f"uint{int(luts[0].LUTDescriptor[2])}"
        if None not in (file.get("RescaleSlope"), file.get("RescaleIntercept")):
            return "float32"
    signed = int(file.get("PixelRepresentation", 0))
    return f"{'' if signed else 'u'}int{8 if bits <= 8 else 16 if bits <= 16 else 32}"


def read(contents: bytes) -> np.ndarray:
    """Read the values after the modality LUT: [h, w, 1 or 3], of several frames one.

    Raises:
        BadImage: Damaged, or compressed in a way that needs another package.
    """
    values, _ = _values(contents)
    return values


def read_shown(contents: bytes) -> tuple[np.ndarray, bool, bool]:
    """Read an image as a viewer shows it, if its file has a window.

    Returns:
        float32 [h, w, 1] in [0, 1], 0 is black, if there is a window, else the values
        as ``read`` gives them; whether there is a window; and whether small values are
        white (MONOCHROME1), which is not yet undone.

    Raises:
        BadImage: As ``read``.
    """
    from pydicom.pixels import apply_voi_lut

    values, file = _values(contents)
    inverted = file.get("PhotometricInterpretation") == "MONOCHROME1"
    if not _has_window(file):
        return values, False, inverted
    try:
        shown = np.asarray(apply_voi_lut(values[..., 0], file), np.float64)
    except Exception as error:  # a window of width 0, an unknown function, ...
        raise BadImage(f"DICOM image with a wrong window: {error}") from error
    low, high = _output_range(file)
    shown = np.clip((shown - low) / (high - low), 0, 1).astype(np.float32)
    return shown[..., np.newaxis], True, inverted


def is_inverted(contents: bytes) -> bool:
    """Return whether small values are white."""
    file = _open(contents, pixels=False)
    return bool(file.get("PhotometricInterpretation") == "MONOCHROME1")


def _output_range(file: Any) -> tuple[float, float]:
    """Return what ``apply_voi_lut`` gives for black and white.

    A LUT gives 0 to the largest number of its bits. A window gives the range of the
    stored bits after slope and intercept, as pydicom's ``apply_windowing`` has it.
    """
    luts = file.get("VOILUTSequence")
    if luts:
        return 0.0, float(2 ** int(luts[0].LUTDescriptor[2]) - 1)
    if file.get("ModalityLUTSequence"):
        bits = int(file.ModalityLUTSequence[0].LUTDescriptor[2])
        return 0.0, float(2**bits - 1)
    bits = int(file.BitsStored)
    low, high = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if int(file.PixelRepresentation)
        else (0, 2**bits - 1)
    )
    slope = float(file.get("RescaleSlope", 1) or 1)
    intercept = float(file.get("RescaleIntercept", 0) or 0)
    ends = (low * slope + intercept, high * slope + intercept)
    return min(ends), max(ends)


def _values(contents: bytes) -> tuple[np.ndarray, Any]:
    file = _open(contents, pixels=True)
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    try:
        values = pixel_array(file, index=0)
        if file.PhotometricInterpretation == "PALETTE COLOR":
            values = apply_color_lut(values, file)
        elif file.PhotometricInterpretation not in _COLORS:
            values = apply_modality_lut(values, file)
    except Exception as error:  # a missing decoder, missing elements, damage
        reason = " ".join(str(error).split())
        raise BadImage(f"DICOM image that cannot be decoded: {reason}") from error
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    return (values if values.ndim == 3 else values[..., np.newaxis]), file
