"""What is known of each file of a listing, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIGEST_BYTES = 16
# Name -> (type, what an unread file has, further dimensions).
COLUMNS: dict[str, tuple[type | str, int | str, tuple[int, ...]]] = {
    "size": (np.int64, -1, ()),
    "mtime_ns": (np.int64, 0, ()),
    "format": ("U4", "", ()),
    "height": (np.int32, 0, ()),
    "width": (np.int32, 0, ()),
    "channels": (np.uint8, 0, ()),
    "bits": (np.uint8, 0, ()),
    "orientation": (np.uint8, 1, ()),
    "pixels": (np.int64, 0, ()),
    "complete": (np.bool_, True, ()),
    "decoded": (np.bool_, False, ()),
    "kind": ("U8", "uint8", ()),
    "windowed": (np.bool_, False, ()),
    "whole": (np.bool_, True, ()),
    "values": (np.float32, 0, (3,)),
    "digest": (np.uint8, 0, (DIGEST_BYTES,)),
    "error": (object, "", ()),
}


@dataclass(frozen=True, kw_only=True)
class FileIndex:
    """One row a file, in the order of the listing.

    Attributes:
        paths: As in the listing.
        size: int64 [n], bytes; -1 where the file could not be read.
        mtime_ns: int64 [n].
        format: str [n], as of ``image_headers.Header``, "" where unknown.
        height: int32 [n], before ``orientation`` is applied; 0 where unknown.
        width: int32 [n], before ``orientation`` is applied; 0 where unknown.
        channels: uint8 [n], of the file.
        bits: uint8 [n], per channel.
        orientation: uint8 [n], EXIF, 1 to 8.
        pixels: int64 [n], most that decoding holds at once (all frames of a GIF).
        complete: bool [n], whether the file has a proper end.
        decoded: bool [n], whether the pixels were decoded once.
        kind: str [n], type of the values, as NumPy names it.
        windowed: bool [n], whether the file says what is black and white (DICOM).
        whole: bool [n], whether the values are whole numbers.
        values: float32 [n, 3], smallest, largest and usual value of an image of more
            than 8 bits (``pixel_range.spread``); zeros where not decoded.
        digest: uint8 [n, 16], BLAKE2b of the contents; zeros where not read.
        error: str [n] (object), why the image is bad; "" where it is good.
    """

    paths: tuple[str, ...]
    size: np.ndarray
    mtime_ns: np.ndarray
    format: np.ndarray
    height: np.ndarray
    width: np.ndarray
    channels: np.ndarray
    bits: np.ndarray
    orientation: np.ndarray
    pixels: np.ndarray
    complete: np.ndarray
    decoded: np.ndarray
    kind: np.ndarray
    windowed: np.ndarray
    whole: np.ndarray
    values: np.ndarray
    digest: np.ndarray
    error: np.ndarray

    @classmethod
    def unread(cls, paths: tuple[str, ...]) -> FileIndex:
        """Return rows of files that nothing is known of."""
        columns = {
            name: np.full((len(paths), *shape), value, dtype)
            for name, (dtype, value, shape) in COLUMNS.items()
        }
        return cls(paths=paths, **columns)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def wide(self) -> np.ndarray:
        """Whether the values are not those of 8 bits, bool [n]."""
        wide: np.ndarray = self.kind != "uint8"
        return wide

    @property
    def good(self) -> np.ndarray:
        """Whether the image can be used, bool [n]."""
        without_error: np.ndarray = np.equal(self.error, "").astype(bool)
        return without_error

    def upright_shape(self) -> tuple[np.ndarray, np.ndarray]:
        """Return heights and widths with the orientation applied, int32 [n] each."""
        turned = self.orientation >= 5
        return (
            np.where(turned, self.width, self.height),
            np.where(turned, self.height, self.width),
        )

    def reset(self, row: int, error: str) -> None:
        """Forget a row but for an error; its file is tried again at the next start."""
        for name, (_, value, _) in COLUMNS.items():
            getattr(self, name)[row] = value
        self.error[row] = error
