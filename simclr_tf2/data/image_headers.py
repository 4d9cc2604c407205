"""What an encoded image says about itself, read from its bytes without decoding.

The formats that TensorFlow decodes are parsed here rather than by a library because
some libraries allocate the pixels of a PNG or WebP merely to find its EXIF block: here
the size of an image is known, and refused, before anything of that size exists.
Sources: JPEG ITU-T T.81 annex B; PNG (W3C) section 5; GIF89a sections 17-27; BMP
BITMAPINFOHEADER; WebP container specification; EXIF 2.32 section 4.6.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from simclr_tf2.data import (
    dicom_files,
    npy_files,
    pnm_files,
    stored_images,
    tiff_files,
)
from simclr_tf2.data.unreadable import BadImage


@dataclass(frozen=True, kw_only=True)
class Header:
    """Facts from the header of an image.

    Attributes:
        format: "jpeg", "png", "gif", "bmp", "webp", "tiff", "pnm", "npy" or "dcm": by
            content, not by name.
        height: Pixels, before the EXIF orientation is applied (TIFF: after).
        width: Pixels, before the EXIF orientation is applied (TIFF: after).
        channels: Of the file: 1 gray, 2 gray and alpha, 3, 4 (alpha, or CMYK); TIFF and
            npy may have any number.
        bits: Per channel; of a palette, per index.
        orientation: EXIF, 1 to 8; 1 where there is none (TIFF: its reader turns it).
        pixels: Most pixels that decoding holds at once, in units of 3 bytes (all
            frames of a GIF, which is read whole).
        complete: Whether the end of the file was found where it should be.
        kind: Type of the values, as NumPy names it.
        windowed: Whether the file says which values are black and white (DICOM).
    """

    format: str
    height: int
    width: int
    channels: int
    bits: int = 8
    orientation: int = 1
    pixels: int = 0
    complete: bool = True
    kind: str = "uint8"
    windowed: bool = False


def parse(contents: bytes, *, size: int | None = None) -> Header:
    """Read the header of an encoded image.

    Args:
        contents: The file, or its first bytes when it is very large.
        size: Bytes of the whole file; default: ``len(contents)``.

    Raises:
        BadImage: Not one of the formats, or a header that makes no sense.
    """
    size = len(contents) if size is None else size
    if size == 0:
        raise BadImage("empty file (0 bytes)")
    if stored_images.format_of(contents) == "dcm":  # its first 128 bytes may be any
        return _with_pixels(_dicom(contents, size))
    for magic, parser in _PARSERS.items():
        if contents.startswith(magic):
            try:
                header = parser(contents, size)
            except (struct.error, IndexError) as error:
                raise BadImage(f"cut off within its header ({size} bytes)") from error
            return _with_pixels(header)
    raise BadImage(_what_else(contents))


def _with_pixels(header: Header) -> Header:
    if header.height <= 0 or header.width <= 0:
        raise BadImage(f"says it is {header.height}x{header.width} pixels")
    area = header.height * header.width
    return replace(header, pixels=max(header.pixels, area))


def _png(contents: bytes, size: int) -> Header:
    length, kind = struct.unpack_from(">I4s", contents, 8)
    if kind != b"IHDR" or length != 13:
        raise BadImage("PNG without IHDR at its start")
    width, height, bits, color = struct.unpack_from(">IIBB", contents, 16)
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(color)
    if channels is None:
        raise BadImage(f"PNG of unknown colour type {color}")
    position, orientation, complete = 8, 1, size > len(contents)
    while position + 8 <= len(contents):
        length, kind = struct.unpack_from(">I4s", contents, position)
        if kind == b"tRNS" and color == 3:
            channels = 4
        elif kind == b"eXIf":
            orientation = _exif(contents[position + 8 : position + 8 + length])
        position += 12 + length
        if kind == b"IEND":
            complete = position <= size
            break
    return Header(
        format="png",
        height=height,
        width=width,
        channels=channels,
        bits=bits,
        orientation=orientation,
        complete=complete,
        kind="uint16" if bits == 16 else "uint8",
    )


_NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))  # TEM, RST0-7
_SOF = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC})  # not DHT, JPG, DAC
_MAX_SCANS = 100  # progressive files have about ten; thousands would take hours
_SOF_DECODED = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))  # Huffman or arithmetic DCT


def _jpeg(contents: bytes, size: int) -> Header:
    position, orientation, found = 2, 1, None
    while True:
        position = contents.find(b"\xff", position)
        if position < 0:
            raise IndexError
        while contents[position] == 0xFF:  # a marker may be filled with further FF
            position += 1
        marker = contents[position]
        position += 1
        if marker in _NO_LENGTH or marker == 0:
            continue
        if marker == 0xD9:
            raise BadImage("JPEG that ends before its pixels")
        (length,) = struct.unpack_from(">H", contents, position)
        if marker == 0xDA:
            break
        if marker == 0xE1 and contents[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _exif(contents[position + 8 : position + length])
        elif marker in _SOF and found is None:
            if marker not in _SOF_DECODED:
                raise BadImage("lossless or hierarchical JPEG, which is not supported")
            found = struct.unpack_from(">BHHB", contents, position + 2)
        position += length
    if found is None:
        raise BadImage("JPEG without a frame header")
    bits, height, width, channels = found
    if bits != 8:
        raise BadImage(f"JPEG of {bits} bits, of which only 8 are supported")
    scans = contents.count(b"\xff\xda", position - 2)
    if scans > _MAX_SCANS:
        raise BadImage(f"JPEG of {scans} scans, each as long to decode as an image")
    return Header(
        format="jpeg",
        height=height,
        width=width,
        channels=channels,
        orientation=orientation,
        complete=size > len(contents) or contents.find(b"\xff\xd9", position) >= 0,
    )


def _gif(contents: bytes, size: int) -> Header:
    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def skip_blocks(position: int) -> int:
        while contents[position]:
            position += contents[position] + 1
        return position + 1

    position = 13 + table(contents[10])
    frames: list[tuple[int, int]] = []
    complete = size > len(contents)
    try:
        while True:
            kind = contents[position]
            if kind == 0x3B:
                complete = True
                break
            if kind == 0x21:
                position = skip_blocks(position + 2)
            elif kind == 0x2C:
                width, height, flags = struct.unpack_from(
                    "<HHB", contents, position + 5
                )
                frames.append((height, width))
                position = skip_blocks(position + 11 + table(flags))
            else:
                break
    except (IndexError, struct.error):
        pass
    if not frames:
        raise BadImage("GIF without a picture")
    return Header(
        format="gif",
        # TensorFlow's canvas is the largest frame, not the logical screen.
        height=max(h for h, _ in frames),
        width=max(w for _, w in frames),
        channels=3,
        pixels=sum(h * w for h, w in frames) // 3,
        complete=complete,
    )


def _bmp(contents: bytes, size: int) -> Header:
    offset, header_size, width, height = struct.unpack_from("<IIii", contents, 10)
    if header_size < 40:
        raise BadImage("BMP with an OS/2 header, which is not supported; convert it")
    bits, compression = struct.unpack_from("<HI", contents, 28)
    # Compression 3 with 32 bits is the usual way to say "has alpha"; the masks follow.
    bgra = (0xFF0000, 0xFF00, 0xFF)
    plain = compression == 0 or (
        compression == 3
        and bits == 32
        and struct.unpack_from("<III", contents, 54) == bgra
    )
    if not plain or bits not in (1, 4, 8, 24, 32):
        raise BadImage(
            f"BMP of {bits} bits with compression {compression}, which is not "
            "supported; convert it"
        )
    height = abs(height)
    needed = offset + (width * bits + 31) // 32 * 4 * height
    return Header(
        format="bmp",
        height=height,
        width=width,
        channels=4 if bits == 32 else 3,
        bits=min(bits, 8),
        complete=needed <= size,
    )


def _webp(contents: bytes, size: int) -> Header:
    (riff,) = struct.unpack_from("<I", contents, 4)
    kind = contents[12:16]
    if contents[8:12] != b"WEBP":
        raise BadImage("a RIFF file (sound or film), not an image")
    orientation = 1
    if kind == b"VP8X":
        alpha = bool(contents[20] & 0x10)
        width = int.from_bytes(contents[24:27], "little") + 1
        height = int.from_bytes(contents[27:30], "little") + 1
        if contents[20] & 0x08:
            orientation = _webp_exif(contents)
    elif kind == b"VP8 ":
        alpha = False
        width, height = struct.unpack_from("<HH", contents, 26)
        width, height = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        (word,) = struct.unpack_from("<I", contents, 21)
        width, height = (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1
        alpha = bool(word >> 28 & 1)
    else:
        raise BadImage("WebP without a picture")
    return Header(
        format="webp",
        height=height,
        width=width,
        channels=4 if alpha else 3,
        orientation=orientation,
        complete=riff + 8 <= size,
    )


def _webp_exif(contents: bytes) -> int:
    position = 12
    while position + 8 <= len(contents):
        kind, length = struct.unpack_from("<4sI", contents, position)
        if kind == b"EXIF":
            return _exif(contents[position + 8 : position + 8 + length])
        position += 8 + length + (length & 1)
    return 1


def _tiff(contents: bytes, size: int) -> Header:
    height, width, channels, kind = tiff_files.facts_of(contents)
    return Header(
        format="tiff",
        height=height,
        width=width,
        channels=channels,
        bits=_bits(kind),
        kind=kind,
        complete=tiff_files.is_complete(contents, size),
    )


def _pnm(contents: bytes, size: int) -> Header:
    header = pnm_files.header_of(contents)
    return Header(
        format="pnm",
        height=header.height,
        width=header.width,
        channels=header.channels,
        bits=header.bits,
        kind=f"uint{header.bits}",
        complete=header.is_complete(contents, size),
    )


def _npy(contents: bytes, size: int) -> Header:
    (height, width, channels), dtype, _ = npy_files.header_of(contents)
    kind = "uint8" if dtype.kind == "b" else dtype.newbyteorder("=").name
    return Header(
        format="npy",
        height=height,
        width=width,
        channels=channels,
        bits=_bits(kind),
        kind=kind,
        complete=npy_files.is_complete(contents, size),
    )


def _dicom(contents: bytes, size: int) -> Header:
    (height, width, channels), kind, windowed = dicom_files.header_of(contents)
    return Header(
        format="dcm",
        height=height,
        width=width,
        channels=channels,
        bits=_bits(kind),
        kind=kind,
        windowed=windowed,
    )


def _bits(kind: str) -> int:
    return np.dtype(kind).itemsize * 8


def _exif(block: bytes) -> int:
    """Return the orientation of a TIFF-structured EXIF block; 1 without a valid one."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _what_else(contents: bytes) -> str:
    """Say what bytes that are no supported image look like."""
    text = contents[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name in _OTHER.items():
        if text.startswith(magic.lower()):
            return name
    if contents[4:8] == b"ftyp":
        return "a HEIC, AVIF or MP4 file; convert it to JPEG or PNG"
    if not contents[:256].strip(b"\0"):
        return "starts with zero bytes (an interrupted copy?)"
    return f"not an image: starts with {contents[:8]!r}"


_PARSERS = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
    **dict.fromkeys(tiff_files.MAGIC, _tiff),
    **dict.fromkeys(pnm_files.MAGIC, _pnm),
    npy_files.MAGIC: _npy,
}
_OTHER = {
    b"<!doctype html": "an HTML page, not an image (a failed download?)",
    b"<html": "an HTML page, not an image (a failed download?)",
    b"<svg": "an SVG drawing; convert it to PNG",
    b"<?xml": "XML, not an image",
    b"{": "text that looks like JSON, not an image",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file with `git lfs pull`",
    b"%PDF": "a PDF document; convert it to PNG",
    b"8BPS": "a Photoshop file; convert it to PNG",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\xff\x0a": "a JPEG XL file; convert it to JPEG or PNG",
}
