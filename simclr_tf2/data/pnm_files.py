"""PBM, PGM and PPM images (Netpbm): bitmaps, gray and colour of 1 to 16 bits.

Pillow reads bitmaps (P1, P4). It converts pixels of 16 bits to 8, or stretches them, so
the others, which are plain numbers after a short header, are read by NumPy. Source: the
Netpbm format descriptions, pbm(5), pgm(5) and ppm(5).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import PpmImagePlugin

from simclr_tf2.data.unreadable import BadImage

MAGIC = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"
_BITMAP = re.compile(rb"P[14]" + 2 * (_SPACE + rb"(\d+)") + rb"\s")
_NUMBERS = re.compile(rb"P[2356]" + 3 * (_SPACE + rb"(\d+)") + rb"\s")


@dataclass(frozen=True)
class PnmHeader:
    """Facts from the header.

    Attributes:
        height: Pixels.
        width: Pixels.
        channels: 1 or 3.
        largest: The value of white; 1 for bitmaps.
        start: Place of the first byte after the header.
        text: Whether the pixels are written as decimal numbers.
    """

    height: int
    width: int
    channels: int
    largest: int
    start: int
    text: bool

    @property
    def bits(self) -> int:
        """Bits of a stored value, 8 or 16."""
        return 16 if self.largest > 255 else 8

    def is_complete(self, contents: bytes, size: int) -> bool:
        """Return whether ``size`` bytes hold all pixels; bits as text are not counted.

        Args:
            contents: The file, or its first bytes when it is very large.
            size: Bytes of the whole file.
        """
        kind, row = contents[1:2], self.width * self.channels
        if kind == b"4":
            return self.start + (row + 7) // 8 * self.height <= size
        if not self.text:
            return self.start + row * self.height * self.bits // 8 <= size
        words = len(contents[self.start :].split())
        return kind == b"1" or len(contents) < size or words >= row * self.height


def header_of(contents: bytes) -> PnmHeader:
    """Read the header.

    Raises:
        BadImage: It is cut off, or is none.
    """
    kind = contents[1:2]
    found = (_BITMAP if kind in b"14" else _NUMBERS).match(contents)
    if not found:
        raise BadImage("PNM image with a damaged or cut off header")
    width, height, *rest = (int(number) for number in found.groups())
    largest = rest[0] if rest else 1
    if not 1 <= largest <= 65535:
        raise BadImage(f"PNM image whose largest value is {largest}, not 1 to 65535")
    channels = 3 if kind in b"36" else 1
    return PnmHeader(height, width, channels, largest, found.end(), kind in b"123")


def read(contents: bytes) -> np.ndarray:
    """Read the pixels: uint8 or uint16 [h, w, 1 or 3].

    Values of up to 8 bits are stretched to 0 to 255. Those of more are as they are
    stored: ``--pixel_range`` says what is white.

    Raises:
        BadImage: Damaged bytes.
    """
    header = header_of(contents)
    shape = (header.height, header.width, header.channels)
    if contents[1:2] in b"14":
        try:
            image = PpmImagePlugin.PpmImageFile(io.BytesIO(contents)).convert("L")
        except Exception as error:  # OSError, ValueError, SyntaxError
            raise BadImage(f"PNM image that cannot be decoded: {error}") from error
        return np.asarray(image)[..., np.newaxis]
    count = int(np.prod(shape))
    try:
        if header.text:
            lines = re.sub(rb"#[^\n\r]*", b" ", contents[header.start :])
            values = np.array(lines.split()[:count], np.int64)
        else:
            stored = np.dtype(np.uint8 if header.bits == 8 else ">u2")
            values = np.frombuffer(contents, stored, count, header.start)
        values = values.reshape(shape)
    except ValueError as error:
        raise BadImage("PNM image with pixels missing at its end") from error
    if values.size and values.max() > header.largest:
        raise BadImage(f"PNM image with values above its largest, {header.largest}")
    if header.bits == 16:
        return values.astype(np.uint16)
    if header.largest != 255:
        values = np.rint(values.astype(np.float64) * 255 / header.largest)
    return values.astype(np.uint8)
