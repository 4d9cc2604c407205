"""The draws of ``sampling`` and ``crop`` as compiled code, number for number.

TensorFlow's stateless operations count through Philox 4x32-10 (Salmon et al. 2011,
doi 10.1145/2063384.2063405) from a key and a counter that are scrambled out of the
seed. One call to each of them costs more than all of this for a whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from simclr_tf2.augmentations import crop

_U = np.uint64
_WORD, _HALF = _U(0xFFFFFFFF), _U(32)
_FACTORS = _U(0xD2511F53), _U(0xCD9E8D57)
_RAISES = _U(0x9E3779B9), _U(0xBB67AE85)
_SCRAMBLE = _U(0x3EC8F720), _U(0x02461E29)  # TensorFlow's key for seeds
_FLOAT = np.float32
_ATTEMPTS = crop.MAX_ATTEMPTS
_HALF_UP = _FLOAT(1e-7)


def compiler(**options: Any) -> Callable[[Callable], Callable]:
    """Return ``numba.njit`` without Python's lock, kept on disk in a writable folder.

    Numba keeps it beside the file, else in the user's cache folder, else nowhere: then
    every process compiles for itself.
    """

    def decorate(function: Callable) -> Callable:
        compiled: Callable
        try:
            compiled = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no such folder
            compiled = numba.njit(nogil=True, **options)(function)
        return compiled

    return decorate


# Bits count here. Said, because what is left open comes from whichever caller is
# compiled first, and stays in the cache.
_compile = compiler(fastmath=False, error_model="python")


@_compile
def philox(counter, key, block):
    """Fill ``block``, uint64 [4], with the four words of 32 bits at a counter.

    Args:
        counter: uint64 [4], words of 32 bits.
        key: uint64 [2], words of 32 bits.
        block: written.
    """
    a, b, c, d = counter[0], counter[1], counter[2], counter[3]
    left, right = key[0], key[1]
    for _ in range(10):
        first, second = _FACTORS[0] * a, _FACTORS[1] * c
        a, c = (second >> _HALF) ^ b ^ left, (first >> _HALF) ^ d ^ right
        b, d = second & _WORD, first & _WORD
        left, right = (left + _RAISES[0]) & _WORD, (right + _RAISES[1]) & _WORD
    block[0], block[1], block[2], block[3] = a, b, c, d


@_compile
def start(seed, state):
    """Begin the stream of a seed.

    Args:
        seed: int32 [2].
        state: uint64 [11]: counter [4], key [2], block [4] and how many of the block
            were read; written.
    """
    counter, key, block = state[:4], state[4:6], state[6:10]
    for i in range(2):
        word = _U(np.int64(seed[i]))
        counter[2 * i], counter[2 * i + 1] = word & _WORD, word >> _HALF
        key[i] = _SCRAMBLE[i]
    philox(counter, key, block)
    key[0], key[1] = block[0], block[1]
    counter[0] = counter[1] = _U(0)
    counter[2], counter[3] = block[2], block[3]
    state[10] = _U(4)


@_compile
def next_word(state):
    """Return the next 32 bits, as uint64."""
    if state[10] == _U(4):
        philox(state[:4], state[4:6], state[6:10])
        state[0] += _U(1)
        state[10] = _U(0)
    word = state[_U(6) + state[10]]
    state[10] += _U(1)
    return word


@_compile
def uniform(state):
    """Return a float32 from 0 to 1, in steps of 2^-23."""
    return _FLOAT(next_word(state) & _U(0x7FFFFF)) * _FLOAT(2.0**-23)


@_compile
def below(state, limit):
    """Return an integer from 0 to ``limit`` - 1, all alike; ``limit`` is 1 or more."""
    limit = _U(limit)
    if limit & (limit - _U(1)) == _U(0):
        return np.int64(next_word(state) & (limit - _U(1)))
    least = _WORD % limit + _U(1)  # words below it would favour some integers
    word = next_word(state)
    while word < least:
        word = next_word(state)
    return np.int64(word % limit)


@_compile
def split(seed, seeds):
    """Fill ``seeds``, int32 [n, 2], as ``tf.random.split`` does."""
    state = np.empty(11, np.uint64)
    start(seed, state)
    for i in range(len(seeds)):
        for j in range(2):
            seeds[i, j] = np.int32(np.uint32(next_word(state)))


@_compile
def _rounded(value):
    return np.int64(np.rint(_FLOAT(value)))


@_compile
def draw_window(seed, rows, columns, aspects, areas, covered, window):
    """Draw a crop as ``crop.sample_crop_window`` does.

    Args:
        seed: int32 [2].
        rows: of the image.
        columns: of the image.
        aspects: float32 [2], lowest and highest aspect, width over height.
        areas: float32 [2], least and greatest part of the image.
        covered: float32, part of the image that must be in the window.
        window: int32 [4]: top, left, rows and columns; written.
    """
    state = np.empty(11, np.uint64)
    start(seed, state)
    least = _FLOAT(_FLOAT(areas[0] * _FLOAT(columns)) * _FLOAT(rows))
    most = _FLOAT(_FLOAT(areas[1] * _FLOAT(columns)) * _FLOAT(rows))
    for _ in range(_ATTEMPTS):
        aspect = _FLOAT(
            _FLOAT(uniform(state) * _FLOAT(aspects[1] - aspects[0])) + aspects[0]
        )
        if not _draw_sides(state, rows, columns, aspect, least, most, window):
            continue
        area = _FLOAT(window[2] * window[3])
        if _FLOAT(area / _FLOAT(rows * columns)) >= covered:
            return
    window[0] = window[1] = 0
    window[2], window[3] = rows, columns


@_compile
def _draw_sides(state, rows, columns, aspect, least, most, window):
    """Draw a window of that aspect if there is one; return whether there is."""
    low = _rounded(np.sqrt(_FLOAT(least / aspect)))
    high = _rounded(np.sqrt(_FLOAT(most / aspect)))
    if _rounded(_FLOAT(high) * aspect) > columns:
        high = np.int64((columns + 0.5 - np.float64(_HALF_UP)) / np.float64(aspect))
        if _rounded(_FLOAT(high) * aspect) > columns:
            high -= 1
    high = min(high, rows)
    height = min(low, high)
    if height < high:
        height += below(state, high - height + 1)
    width = _rounded(_FLOAT(height) * aspect)
    if _FLOAT(width * height) < least:  # rounding
        height += 1
        width = _rounded(_FLOAT(height) * aspect)
    if _FLOAT(width * height) > most:
        height -= 1
        width = _rounded(_FLOAT(height) * aspect)
    area = _FLOAT(width * height)
    fits = 0 < width <= columns and 0 < height <= rows
    if not fits or area < least or area > most:
        return False
    window[0] = below(state, rows - height) if height < rows else 0
    window[1] = below(state, columns - width) if width < columns else 0
    window[2], window[3] = height, width
    return True


@_compile
def draw_views(seed, image, low, span, aspects, areas, covered, windows, numbers):
    """Draw all views of an image.

    Args:
        seed: int32 [2], of the image.
        image: of which the shape counts.
        low: float32 [n], the least of each number; n is 9 or 14.
        span: float32 [n], the greatest less the least.
        aspects: float32 [2], lowest and highest aspect, width over height.
        areas: float32 [2], least and greatest part of the image.
        covered: float32, part of the image that must be in the window.
        windows: int32 [v, 4]; written.
        numbers: float32 [v, n], as of ``sampling.draw_numbers``; written.
    """
    rows, columns = image.shape[0], image.shape[1]
    seeds = np.empty((2 * len(windows), 2), np.int32)
    split(seed, seeds)
    state = np.empty(11, np.uint64)
    for i in range(len(windows)):
        draw_window(seeds[2 * i], rows, columns, aspects, areas, covered, windows[i])
        start(seeds[2 * i + 1], state)
        for j in range(len(low)):
            numbers[i, j] = low[j] + _FLOAT(uniform(state) * span[j])
