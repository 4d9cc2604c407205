"""Which values of an image are black and white: one range for a whole data set.

Pixels of 8 bits stay as they are. Wider integers and floats become uint16 over its
whole range, so that all that follows sees uint8 or uint16: value ``low`` becomes 0,
``high`` becomes 65535, what lies outside is clipped, NaN becomes 0. The range is never
that of a single image, which would change brightness between images: it comes from the
setting, from the type, or from the values of the whole data set.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2.data import once
from simclr_tf2.errors import ConfigError

AUTO, FULL = "auto", "full"
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use
USUAL = 99.9  # per cent of the values lie below what is called usual
SPARSE = 0.01  # [ours] of all values: usual ones below that say nothing
EMPTY = 1 / 8  # [ours] of a range: if less is used, there is a warning
ROUNDING = 1e-3  # floats this far outside of 0 to 1 still are in 0 to 1
_CHUNK = 1 << 22  # values that are converted at once
_SAMPLE = 1 << 16  # values of which the usual ones are found


@dataclass(frozen=True)
class Seen:
    """The values of a data set.

    Attributes:
        kind: Type of the pixels.
        low: Smallest finite value.
        high: Largest finite value.
        usual: What ``USUAL`` per cent of the values do not exceed.
        whole: Whether all values are whole numbers.
        images: How many images were looked at.
    """

    kind: np.dtype
    low: float
    high: float
    usual: float
    whole: bool
    images: int

    @classmethod
    def of_spreads(
        cls,
        found: Sequence[tuple[float, float, float]],
        kind: np.dtype | type,
        *,
        whole: bool = True,
    ) -> Seen:
        """Join what ``spread`` found in each image."""
        low, high, usual = np.asarray(found, np.float64).T
        return cls(
            np.dtype(kind),
            float(low.min()),
            float(high.max()),
            float(usual.max()),
            whole,
            len(found),
        )

    @property
    def top(self) -> float:
        """Largest value that counts: without a few hot pixels among many.

        Images with few bright spots, on which all depends, count whole.
        """
        sparse = self.usual - self.low <= SPARSE * (self.high - self.low)
        return self.high if sparse else self.usual

    def __str__(self) -> str:
        return (
            f"values {number(self.low)} to {number(self.high)} in {self.images} images"
        )


def look(arrays: Sequence[np.ndarray]) -> Seen:
    """Return which values arrays of images hold, over all of them.

    Args:
        arrays: Each [n, ...] of one type, numbers or bool.

    Raises:
        ConfigError: There is no finite value.
    """
    kind = np.result_type(*(array.dtype for array in arrays))
    lows, highs, samples, whole = [], [], [], True
    for part in (part for array in arrays for part in _parts(array)):
        values = part.ravel()
        if kind.kind == "f":
            values = values[np.isfinite(values)]
            whole = whole and bool((values == np.rint(values)).all())
        if values.size:
            lows.append(float(values.min()))
            highs.append(float(values.max()))
            samples.append(values[:: max(1, values.size // _SAMPLE)])
    if not lows:
        raise ConfigError("the images hold no finite value; make them again")
    usual = float(np.percentile(np.concatenate(samples).astype(np.float64), USUAL))
    count = sum(len(array) for array in arrays)
    return Seen(kind, min(lows), max(highs), usual, whole, count)


def spread(pixels: np.ndarray) -> tuple[float, float, float]:
    """Return the smallest, the largest and the usual value of one image."""
    values = np.asarray(pixels).ravel()
    sample = values[:: max(1, values.size // _SAMPLE)]
    return float(values.min()), float(values.max()), float(np.percentile(sample, USUAL))


def resolve(setting: str, seen: Seen, *, name: str) -> str:
    """Decide the ``--pixel_range`` of a data set where it is auto, and log the choice.

    Args:
        setting: "auto", "full" or "LO,HI".
        seen: The values of the whole data set.
        name: The data set, for messages.

    Returns:
        "full" or "LO,HI"; "auto" for pixels of 8 bits, which need no decision.

    Raises:
        ConfigError: The values do not say what black and white are.
    """
    chosen = _choose(seen, name) if setting == AUTO else setting
    low, high = limits(chosen, seen.kind)
    used = (min(seen.top, high) - max(seen.low, low)) / (high - low)
    read = f"{number(low)} to {number(high)}"
    if used <= EMPTY and seen.high > seen.low:
        once.warn(
            f"{name}: {seen} fill {100 * max(used, 0):.2g} % of the range that is read "
            f"({read}), so images are nearly flat; --pixel_range={suggest(seen)} "
            "spreads them over all of it"
        )
    elif setting == AUTO and chosen not in (AUTO, FULL):
        full = "" if seen.kind.kind == "f" else f", {FULL} for the whole type"
        once.warn(
            f"{name}: {seen} of type {seen.kind} are read with --pixel_range={chosen}; "
            f"pass LO,HI for other limits{full}"
        )
    elif seen.top > high + (high - low):
        once.warn(
            f"{name}: {seen} go far beyond the range that is read ({read}), so images "
            f"have white areas; --pixel_range={suggest(seen)} keeps them"
        )
    elif seen.high > high or seen.low < low:
        once.tell(f"{name}: {seen}; those outside of {read} are clipped")
    return chosen


def of_arrays(
    arrays: Sequence[np.ndarray], setting: str, *, name: str
) -> tuple[str, Seen]:
    """Decide the range of arrays of images of one type; name those that hold NaN.

    Returns:
        The range, and the values that were seen.

    Raises:
        ConfigError: As ``resolve``; an image that is nothing but NaN.
    """
    for array in arrays:
        _name_missing(array, name)
    seen = look(arrays)
    return resolve(setting, seen, name=name), seen


def _choose(seen: Seen, name: str) -> str:
    """Return the range that the type and the values of a data set plainly mean."""
    if seen.kind.kind == "b" or seen.kind == np.uint8:
        return AUTO
    real = seen.kind.kind == "f"
    if real and seen.low >= -ROUNDING and seen.high <= 1 + ROUNDING:
        return FULL
    if real and -1 - ROUNDING <= seen.low < 0 and seen.high <= 1 + ROUNDING:
        return "-1,1"
    if seen.whole and seen.low >= 0 and seen.high <= 65535:
        top = _top(seen.high, seen.kind)
        return FULL if seen.kind == np.uint16 and top == 65535 else f"0,{top}"
    if real and seen.low >= 0 and 128 <= seen.high <= 255 + ROUNDING:
        return "0,255"
    raise ConfigError(
        f"{name} has images of type {seen.kind} with {seen}, which do not say what is "
        f"black and what is white; pass --pixel_range=LO,HI with those two values "
        f"({suggest(seen)} is what was seen), or convert the images to uint8"
    )


def _top(value: float, kind: np.dtype) -> int:
    """Return the largest value of the smallest of ``DEPTHS`` that holds ``value``."""
    depths = (*DEPTHS[:-1], 15) if kind == np.int16 else DEPTHS
    tops = ((1 << bits) - 1 for bits in depths)
    return next(top for top in tops if value <= top)


def suggest(seen: Seen) -> str:
    """Suggest a range "LO,HI" that holds the values that were seen, but for a few."""
    high = seen.high if seen.high <= 2 * abs(seen.top) else seen.top
    low = 0.0 if 0 <= seen.low <= 0.1 * high else seen.low
    if seen.whole and not low and 255 < high <= 65535:
        high = _top(high, seen.kind)
    elif not seen.whole:  # three digits, outwards
        digits = 10.0 ** (np.floor(np.log10(max(abs(low), abs(high), 1e-30))) - 2)
        low, high = np.floor(low / digits) * digits, np.ceil(high / digits) * digits
    high = np.ceil(high) if seen.whole else high
    return f"{number(low)},{number(high if high > low else low + 1)}"


def number(value: float) -> str:
    """Write a value as short as it can be told, and as the flag takes it."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.9g}"


def limits(setting: str, kind: np.dtype | type) -> tuple[float, float]:
    """Return the values that become black and white.

    A range that unsigned pixels of 8 bits cannot hold, or that of floats up to 1, is of
    other images: they keep 0 to 255. So a run on 12-bit images can embed photos.

    Args:
        setting: As ``resolve`` gives it.
        kind: Type of the pixels.
    """
    kind = np.dtype(kind)
    eight = kind.kind == "b" or kind == np.uint8
    if setting not in (AUTO, FULL):
        low, high = (float(part) for part in setting.split(","))
        if not eight or (low >= 0 and 1 < high <= 255):
            return low, high
    if kind.kind == "f":
        return 0.0, 1.0
    if eight:
        return 0.0, 255.0
    return float(np.iinfo(kind).min), float(np.iinfo(kind).max)


def to_pixels(images: np.ndarray, setting: str) -> np.ndarray:
    """Convert images of any type to pixels as the pipeline takes them.

    Args:
        images: [n, ...], numbers or bool.
        setting: As ``resolve`` gives it.

    Returns:
        uint8 where the values are those of 8 bits, else uint16 over its whole range.
    """
    if images.dtype.kind == "b":
        images = images.astype(np.uint8) * np.uint8(255)
    low, high = limits(setting, images.dtype)
    if (
        images.dtype in (np.uint8, np.uint16)
        and high - low == np.iinfo(images.dtype).max
    ):
        return images
    eight = images.dtype.kind in "iu" and (low, high) == (0, 255)
    made = np.empty(images.shape, np.uint8 if eight else np.uint16)
    for part, target in zip(_parts(images), _parts(made), strict=True):
        values = (part.astype(np.float64) - low) * (
            np.iinfo(made.dtype).max / (high - low)
        )
        values = np.nan_to_num(values, copy=False, nan=0.0)
        target[...] = np.rint(np.clip(values, 0, np.iinfo(made.dtype).max))
    return made


def _parts(images: np.ndarray) -> list[np.ndarray]:
    """Return views of some images each, so that copying one needs little memory."""
    each = max(1, images.size // max(1, len(images)))
    step = max(1, _CHUNK // each)
    return [images[i : i + step] for i in range(0, len(images), step)]


def scale(pixels: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Convert whole numbers of any type to uint16 in a graph, as ``to_pixels`` does."""
    values = (tf.cast(pixels, tf.float32) - low) * (65535 / (high - low))
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 65535)), tf.uint16)


def _name_missing(images: np.ndarray, name: str) -> None:
    """Warn of images that hold NaN, which becomes 0 (black); refuse NaN alone."""
    if images.dtype.kind != "f":
        return
    some, none = [], []
    for start, part in zip(_starts(images), _parts(images), strict=True):
        missing = np.isnan(part).reshape(len(part), -1)
        some += (start + np.flatnonzero(missing.any(1))).tolist()
        none += (start + np.flatnonzero(missing.all(1))).tolist()
    if none:
        raise ConfigError(
            f"{len(none)} of {len(images)} images of {name} hold nothing but NaN "
            f"({_first(none)}); leave them out"
        )
    if some:
        once.warn(
            f"{name}: {len(some)} of {len(images)} images hold NaN ({_first(some)}), "
            "which is read as black (the low end of --pixel_range)"
        )


def _starts(images: np.ndarray) -> list[int]:
    ends = itertools.accumulate(len(part) for part in _parts(images))
    return [0, *ends][:-1]


def _first(places: list[int]) -> str:
    shown = ", ".join(map(str, places[:5]))
    return f"image {shown}{', ...' if len(places) > 5 else ''}"
