"""Draw the odd image files beside this script: run it to make them again.

Needs Pillow. Everything is drawn here from formulas; nothing is taken from elsewhere.
"""

from __future__ import annotations

import argparse
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def _picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth colours, different in each corner, uint8 [h, w, 3]."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return np.stack([red, green, 255 - red / 2 - green / 2], -1).round().astype("uint8")


def _noise(size: int = 48) -> np.ndarray:
    """Pixels that do not compress, uint8 [size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), "uint8")


def _encode(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _png(height: int, width: int, *, bits: int, data: bytes) -> bytes:
    """Write a gray PNG with any size in its header and any compressed data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body))
            + kind
            + body
            + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", data),
            chunk(b"IEND", b""),
        )
    )


def _bomb(side: int = 20000) -> bytes:
    """Write a valid black PNG of 400 million pixels in about 50 kB."""
    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return _png(side, side, bits=1, data=data)


def _resized_header(jpeg: bytes, side: int) -> bytes:
    """Write the JPEG with another size in its frame header (marker FFC0)."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", side, side) + jpeg[place + 4 :]


def _gif_bomb(side: int = 60000) -> bytes:
    """Write an image with a screen of 1x1, but a frame of 60000x60000."""
    gif = bytearray(_encode(_picture(1, 1), "GIF"))
    place = gif.index(b"\x2c", 13 + (3 << ((gif[10] & 7) + 1))) + 5
    gif[place : place + 4] = struct.pack("<HH", side, side)
    return bytes(gif)


def _flipped_bytes(jpeg: bytes) -> bytes:
    """Invert every eleventh byte of the frame header and the tables."""
    damaged = bytearray(jpeg)
    for place in range(20, 400, 11):
        damaged[place] ^= 0xFF
    return bytes(damaged)


def _resized_tiff(tiff: bytes, side: int) -> bytes:
    """Write the TIFF with another width and height in its directory."""
    changed = bytearray(tiff)
    (start,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", tiff, entry)
        if tag in (0x0100, 0x0101):  # as one LONG, at any byte order of the file
            changed[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(changed)


def _damaged_lzw() -> bytes:
    """Write a TIFF whose header is in order and whose compressed pixels are not."""
    tiff = bytearray(_encode(_picture(), "TIFF", compression="tiff_lzw"))
    with Image.open(io.BytesIO(tiff)) as image:
        start, length = image.tag_v2[0x0111][0], image.tag_v2[0x0117][0]
    tiff[start : start + length] = b"\xff" * length
    return bytes(tiff)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def good_samples() -> Iterator[tuple[str, bytes]]:
    """Name and contents of files that are images, if odd ones."""
    rgb = _picture()
    image = Image.fromarray(rgb)
    alpha = np.full((24, 32, 1), 255, "uint8")
    alpha[:, :16] = 0
    rgba = np.concatenate([rgb, alpha], -1)
    gray = rgb.mean(-1).astype("uint8")
    frames = [Image.fromarray(rgb), Image.fromarray(rgb[::-1].copy())]
    pages = {"append_images": frames[1:], "compression": "packbits"}
    animation = {"save_all": True, "append_images": frames[1:], "duration": 100}
    yield "rgb.jpg", _encode(rgb, "JPEG", quality=95)
    yield "rgb.png", _encode(rgb, "PNG")
    yield "rgb.bmp", _encode(rgb, "BMP")
    yield "rgb.gif", _encode(rgb, "GIF")
    yield "rgb.webp", _encode(rgb, "WEBP", lossless=True)
    yield "rgb.tif", _encode(rgb, "TIFF", compression="tiff_lzw")
    yield "two_pages.tiff", _encode(frames[0], "TIFF", save_all=True, **pages)
    yield "turned.tif", _encode(rgb, "TIFF", tiffinfo={0x0112: 6})
    yield "16_bit_gray.tif", _encode(gray.astype("uint16") * 257, "TIFF")
    yield "a_tiff_named.png", _encode(_picture(3, 5), "TIFF")
    yield "upper_case_suffix.PNG", _encode(rgb, "PNG")
    yield "a_png_named.jpg", _encode(rgb, "PNG")
    yield "progressive.jpg", _encode(rgb, "JPEG", progressive=True)
    yield "1x1.png", _encode(rgb[:1, :1], "PNG")
    yield "1x1.jpg", _encode(rgb[:1, :1], "JPEG")
    yield "animated.gif", _encode(frames[0], "GIF", **animation)
    yield "animated.webp", _encode(frames[0], "WEBP", lossless=True, **animation)
    yield "cmyk.jpg", _encode(image.convert("CMYK"), "JPEG", quality=95)
    yield "16_bit_gray.png", _encode(gray.astype("uint16") * 257, "PNG")
    yield "gray.jpg", _encode(gray, "JPEG", quality=95)
    yield "gray.png", _encode(gray, "PNG")
    yield "gray_alpha.png", _encode(np.dstack([gray, alpha]), "PNG")
    yield "black_white.png", _encode(image.convert("1"), "PNG")
    yield "black_white.bmp", _encode(image.convert("1"), "BMP")
    yield "rgba.png", _encode(rgba, "PNG")
    yield "rgba.webp", _encode(rgba, "WEBP", lossless=True, exact=True)
    yield "rgba.bmp", _encode(rgba, "BMP")
    yield "palette.png", _encode(image.quantize(16), "PNG")
    yield "palette_transparent.png", _encode(image.quantize(16), "PNG", transparency=3)
    yield "palette.bmp", _encode(image.quantize(64), "BMP")
    yield "図_😀.png", _encode(rgb, "PNG")
    yield "x.jpg/inside_a_folder_named_x.jpg", _encode(rgb, "JPEG")
    for turn in range(1, 9):
        yield f"exif_{turn}.jpg", _encode(rgb, "JPEG", quality=95, exif=_exif(turn))


def bad_samples() -> Iterator[tuple[str, bytes]]:
    """Name and contents of files that are no images."""
    noise = _noise()
    jpeg = _encode(noise, "JPEG")
    yield "truncated.jpg", jpeg[: len(jpeg) // 2]
    yield "truncated.png", _encode(noise, "PNG")[:3000]
    yield "truncated.gif", _encode(noise, "GIF")[:1200]
    yield "truncated.bmp", _encode(noise, "BMP")[:3000]
    yield "truncated.webp", _encode(noise, "WEBP")[:1500]
    yield "header_only.jpg", jpeg[:100]
    yield "empty.jpg", b""
    yield "html.jpg", b"<!DOCTYPE html>\n<title>404 Not Found</title>\n"
    yield "flipped_bytes.jpg", _flipped_bytes(jpeg)
    yield "60000x60000.png", _png(60000, 60000, bits=8, data=zlib.compress(bytes(9)))
    yield "60000x60000.jpg", _resized_header(jpeg, 60000)
    yield "bomb.png", _bomb()
    yield "bomb.gif", _gif_bomb()
    yield "zero_height.jpg", _resized_header(jpeg, 0)
    yield "zeros.png", bytes(300)
    tiff = _encode(noise, "TIFF")
    yield "cut_off.tif", tiff[: len(tiff) // 2]
    yield "damaged_lzw.tif", _damaged_lzw()
    yield "60000x60000.tif", _resized_tiff(tiff, 60000)
    yield "nan.tif", _encode(np.full_like(noise[..., 0], np.nan, "float32"), "TIFF")
    yield "git_lfs_pointer.png", b"version https://git-lfs.github.com/spec/v1\n"


def main() -> None:
    """Write good/ and bad/ below the folder given (default: beside this script)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=Path(__file__).parent, type=Path)
    folder = parser.parse_args().folder
    for kind, samples in (("good", good_samples()), ("bad", bad_samples())):
        for name, contents in samples:
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)


if __name__ == "__main__":
    main()
