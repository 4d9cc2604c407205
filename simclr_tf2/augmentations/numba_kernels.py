"""Loops over the pixels of a view, compiled by Numba; ``fused`` calls them.

Colours lie in planes, [3, pixels]. Python's lock is not held, so that threads of the
input run side by side. Formulas are those of ``crop``, ``color`` and ``blur``, whose
docstrings say why they hold; results differ by the rounding of float32. The compiled
code is kept on disk, beside this file or in the user's cache folder.
"""

from __future__ import annotations

import math

import numpy as np

from simclr_tf2.augmentations import color, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.numba_draws import compiler, draw_views

BLOCK = 2048  # pixels whose three colours stay in the first-level cache
_TABLE = 1024  # steps of the bicubic kernel, as in TensorFlow's
_TAIL = 5.6  # sigmas; what lies beyond weighs less than float32 resolves
_NO_JITTER = color.NO_JITTER
_ADDED, _VERTICAL = sampling.ADDED_BRIGHTNESS, sampling.VERTICAL_FLIP
_TURNS, _SOLARIZE = sampling.QUARTER_TURNS, sampling.SOLARIZE
_THRESHOLD = sampling.THRESHOLD
_ORDERS = np.array(color.ORDERS, np.int64)
_RED, _GREEN, _BLUE = (np.float32(weight) for weight in layout.LUMA[0])
_U = np.uint64  # what is never counted from the end: such loops run many at once
_ZERO, _ONE = np.float32(0), np.float32(1)
_compile = compiler(fastmath=True, error_model="numpy")


@_compile
def make_views(images, index, seeds, low, span, aspects, areas, options, views, draws):
    """Draw and make all views of some images.

    Args:
        images: [n, h, w, 3], integers or float32.
        index: int64 [b], which of them.
        seeds: int32 [b, 2].
        low: float32 [n], the least of each number of ``numba_draws.draw_views``.
        span: float32 [n], the greatest less the least.
        aspects: float32 [2], lowest and highest aspect, width over height.
        areas: float32 [2], least and greatest part of the image.
        options: part of the image that a window must cover; the factor that brings
            pixels into [0, 1]; half width of the blur, 0 never blurs; whether to stop
            after the crop.
        views: float32 [v, b, height, width, 3] in [0, 1]; written.
        draws: float32 [v, b, n], of ``sampling.draw_numbers``; written.
    """
    covered, scale, radius, only_windows = options
    count = len(views)
    windows = np.empty((count, 4), np.int32)
    numbers = np.empty((count, len(low)), np.float32)
    for i in range(len(index)):
        image = images[index[i]]
        draw_views(
            seeds[i], image, low, span, aspects, areas, covered, windows, numbers
        )
        for j in range(count):
            draws[j, i] = numbers[j]
        if only_windows:
            make_windows(image, windows, scale, views, i)
        else:
            make_given(image, windows, numbers, scale, radius, views, i)


@_compile
def make_windows(image, windows, scale, views, which):
    """Crop and resize alone; arguments are those of ``make_given``."""
    height, width = views.shape[2], views.shape[3]
    planes = np.empty((3, height, width), np.float32)
    flat = planes.reshape(3, height * width)
    for i in range(len(views)):
        _resize(image, windows[i], scale, np.bool_(False), planes)
        pixels = views[i, which].reshape(height * width, 3)
        for x in range(len(pixels)):
            pixels[x, 0], pixels[x, 1] = flat[0, x], flat[1, x]
            pixels[x, 2] = flat[2, x]


@_compile
def make_given(image, windows, numbers, scale, radius, views, which):
    """Make all views of one image.

    Args:
        image: [h, w, 3].
        windows: int32 [v, 4]: top, left, rows, columns of each crop.
        numbers: float32 [v, 9] or [v, 14], of ``sampling.draw_numbers``.
        scale: float32.
        radius: half width of the blur.
        views: float32 [v, b, height, width, 3] in [0, 1]; written.
        which: of the b images it is.
    """
    height, width = views.shape[2], views.shape[3]
    planes = np.empty((3, height, width), np.float32)
    flat = planes.reshape(3, height * width)
    more = numbers.shape[1] > _ADDED
    for i in range(len(views)):
        order = min(int(numbers[i, 0]), _NO_JITTER)
        flip, gray = numbers[i, 1] < 1, numbers[i, 2] < 1
        _resize(image, windows[i], scale, flip, planes)
        if more:
            _orient(planes, numbers[i, _VERTICAL] < 1, int(numbers[i, _TURNS]))
        if order < _NO_JITTER:
            _jitter(flat, order, numbers[i, 5:], numbers[i, _ADDED] if more else _ZERO)
        if gray:
            _drop_colour(flat)
        if order == _NO_JITTER:
            for c in range(1 if gray else 3):
                _affine(flat[c], _ONE, _ZERO)
        if radius > 0 and numbers[i, 3] < 1:
            _blur(planes, numbers[i, 4], radius, gray, views[i, which])
        else:
            _write(flat, gray, views[i, which].reshape(height * width, 3))
        if more and numbers[i, _SOLARIZE] < 1:
            pixels = views[i, which].reshape(height * width * 3)
            _solarize(pixels, numbers[i, _THRESHOLD])


@_compile
def _taps(length, size, flip, stride):
    """Find where and how much of a line of ``length`` each of ``size`` pixels reads.

    Returns:
        uint64 and float32 [size, 4]; weights that fall off the line are 0, and the
        others sum to 1.
    """
    index = np.empty((size, 4), np.uint64)  # unsigned: never counted from the end
    weight = np.empty((size, 4), np.float32)
    step = np.float32(length) / np.float32(size)
    for position in range(size):
        place = (np.float32(position) + np.float32(0.5)) * step - np.float32(0.5)
        first = np.floor(place)
        near = np.rint((place - first) * _TABLE) / _TABLE  # in [0, 1]
        target = size - 1 - position if flip else position
        total = 0.0
        for k in range(4):
            x = abs(k - 1 - near)
            if x <= 1:
                value = (1.5 * x - 2.5) * x * x + 1
            else:
                value = ((-0.5 * x + 2.5) * x - 4) * x + 2
            where = int(first) + k - 1
            if where < 0 or where >= length:
                where, value = min(max(where, 0), length - 1), 0.0
            index[target, k] = where * stride
            weight[target, k] = value
            total += value
        for k in range(4):
            weight[target, k] /= total
    return index, weight


@_compile
def _resize(image, window, scale, flip, planes):
    """Resize bicubically without antialias: columns of the window first, then rows."""
    top, left, rows, columns = window[0], window[1], window[2], window[3]
    _, height, width = planes.shape
    row_index, row_weight = _taps(rows, height, np.bool_(False), 1)
    index, weight = _taps(columns, width, flip, 3)
    for y in range(height):
        for k in range(4):
            row_weight[y, k] *= scale
    line = np.empty(columns * 3, np.float32)
    lines = image.reshape(image.shape[0], image.shape[1] * 3)
    for y in range(height):
        _mix_rows(line, lines[:, 3 * left :], top, row_index, row_weight, y)
        for c in range(3):
            _mix_columns(planes[c, y], line[c:], index, weight)


@_compile
def _mix_columns(target, line, index, weight):
    for x in range(len(target)):
        target[x] = (
            weight[x, 0] * line[index[x, 0]]
            + weight[x, 1] * line[index[x, 1]]
            + weight[x, 2] * line[index[x, 2]]
            + weight[x, 3] * line[index[x, 3]]
        )


@_compile
def _mix_rows(line, lines, top, index, weight, y):
    i, j = _U(top) + index[y, 0], _U(top) + index[y, 1]
    k, m = _U(top) + index[y, 2], _U(top) + index[y, 3]
    a, b, c, d = weight[y, 0], weight[y, 1], weight[y, 2], weight[y, 3]
    for x in range(len(line)):
        line[x] = (
            a * np.float32(lines[i, x])
            + b * np.float32(lines[j, x])
            + c * np.float32(lines[k, x])
            + d * np.float32(lines[m, x])
        )


@_compile
def _orient(planes, vertical, turns):
    """Exchange top and bottom, then turn counter-clockwise (``crop.orient``)."""
    if not vertical and turns == 0:
        return
    count, height, width = planes.shape
    old = planes.copy()
    for c in range(count):
        for y in range(height):
            for x in range(width):
                if turns == 0:
                    row, column = y, x
                elif turns == 1:
                    row, column = x, width - 1 - y
                elif turns == 2:
                    row, column = height - 1 - y, width - 1 - x
                else:
                    row, column = height - 1 - x, y
                if vertical:
                    row = height - 1 - row
                planes[c, y, x] = old[c, row, column]


@_compile
def _solarize(values, threshold):
    for i in range(len(values)):
        if values[i] >= threshold:
            values[i] = _ONE - values[i]


@_compile
def _jitter(planes, order, amounts, added):
    """Apply four operations and clips; contrast needs the mean of what precedes it."""
    pixels = planes.shape[1]
    position = 0
    mean, rest = np.zeros(3, np.float64), np.empty(3, np.float32)
    while _ORDERS[order, position] != 1:
        position += 1
    for start in range(0, pixels, BLOCK):
        red = planes[0, start : start + BLOCK]
        green = planes[1, start : start + BLOCK]
        blue = planes[2, start : start + BLOCK]
        for i in range(position):
            _apply(_ORDERS[order, i], amounts, added, red, green, blue)
        mean[0] += _sum(red)
        mean[1] += _sum(green)
        mean[2] += _sum(blue)
    factor = amounts[1]
    for i in range(3):
        rest[i] = mean[i] / pixels * (1.0 - factor)
    for start in range(0, pixels, BLOCK):
        red = planes[0, start : start + BLOCK]
        green = planes[1, start : start + BLOCK]
        blue = planes[2, start : start + BLOCK]
        _affine(red, factor, rest[0])
        _affine(green, factor, rest[1])
        _affine(blue, factor, rest[2])
        for i in range(position + 1, 4):
            _apply(_ORDERS[order, i], amounts, added, red, green, blue)


@_compile
def _apply(operation, amounts, added, red, green, blue):
    if operation == 0:
        _affine(red, amounts[0], added)
        _affine(green, amounts[0], added)
        _affine(blue, amounts[0], added)
    elif operation == 2:
        _saturate(red, green, blue, amounts[2])
    else:
        _turn(red, green, blue, amounts[3])


@_compile
def _sum(plane):
    total = _ZERO
    for i in range(len(plane)):
        total += plane[i]
    return total


@_compile
def _affine(plane, factor, rest):
    for i in range(len(plane)):
        plane[i] = max(min(plane[i] * factor + rest, _ONE), _ZERO)


@_compile
def _saturate(red, green, blue, factor):
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        largest = max(max(r, g), b)
        spread = max(largest - min(min(r, g), b), np.float32(1e-12))
        ratio = max(min(largest / spread, factor), _ZERO)
        rest = largest * (_ONE - ratio)
        red[i] = max(min(r * ratio + rest, _ONE), _ZERO)
        green[i] = max(min(g * ratio + rest, _ONE), _ZERO)
        blue[i] = max(min(b * ratio + rest, _ONE), _ZERO)


@_compile
def _missing(turns):
    """Return the weight of a channel that ``turns`` are missing to."""
    turns = abs(turns - np.rint(turns))
    return np.float32(max(min(3.0 - 12.0 * turns, 1.0), -1.0))


@_compile
def _turn(red, green, blue, delta):
    own, third = _missing(delta), np.float32(1 / 3)
    up, down = _missing(delta + third), _missing(delta - third)
    half = np.float32(0.5) - (own + up + down) * np.float32(0.5)
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        largest, smallest = max(max(r, g), b), min(min(r, g), b)
        rest = half * (largest + smallest)
        red[i] = own * r + up * g + down * b + rest
        green[i] = down * r + own * g + up * b + rest
        blue[i] = up * r + down * g + own * b + rest
        red[i] = max(min(max(min(red[i], largest), smallest), _ONE), _ZERO)
        green[i] = max(min(max(min(green[i], largest), smallest), _ONE), _ZERO)
        blue[i] = max(min(max(min(blue[i], largest), smallest), _ONE), _ZERO)


@_compile
def _drop_colour(planes):
    """Write the luma into the first plane."""
    for i in range(planes.shape[1]):
        planes[0, i] = (
            planes[0, i] * _RED + planes[1, i] * _GREEN + planes[2, i] * _BLUE
        )


@_compile
def _blur(planes, sigma, radius, gray, view):
    """Blur columns, then rows, with zeros outside; gray is one plane's work."""
    height, width, _ = view.shape
    radius = min(radius, int(np.ceil(_TAIL * sigma)))
    count = 2 * radius + 1
    weights = np.zeros((count + 7) // 8 * 8, np.float32)  # eight at a time
    total = 0.0
    for i in range(count):
        total += math.exp(-0.5 * ((i - radius) / sigma) ** 2)
    for i in range(count):
        weights[i] = math.exp(-0.5 * ((i - radius) / sigma) ** 2) / total
    line = np.zeros(width + len(weights), np.float32)
    middle = line[radius : radius + width]
    made = np.empty((3, width), np.float32)
    for y in range(height):
        for c in range(1 if gray else 3):
            image, target = planes[c], made[c]
            for n in range(0, count, 4):
                _add_rows(middle, image, y - radius + n, weights, n)
            for n in range(0, len(weights), 8):
                _add_shifted(target, line, weights, n)
        _write(made, gray, view[y])


@_compile
def _add_rows(target, image, y, weights, n):
    """Add the rows from y to y + 3, times their weights; the first ones start it."""
    height = len(image)
    p = weights[n] if 0 <= y < height else _ZERO
    q = weights[n + 1] if 0 <= y + 1 < height else _ZERO
    r = weights[n + 2] if 0 <= y + 2 < height else _ZERO
    s = weights[n + 3] if 0 <= y + 3 < height else _ZERO
    last = height - 1
    i, j = _U(min(max(y, 0), last)), _U(min(max(y + 1, 0), last))
    k, m = _U(min(max(y + 2, 0), last)), _U(min(max(y + 3, 0), last))
    if n == 0:
        for x in range(len(target)):
            target[x] = (
                image[i, x] * p + image[j, x] * q + image[k, x] * r + image[m, x] * s
            )
    else:
        for x in range(len(target)):
            target[x] += (
                image[i, x] * p + image[j, x] * q + image[k, x] * r + image[m, x] * s
            )


@_compile
def _add_shifted(target, line, weights, n):
    """Add eight shifted copies of a line, times their weights."""
    o, p, q, r = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
    s, t, u, v = weights[n + 4], weights[n + 5], weights[n + 6], weights[n + 7]
    if n == 0:
        for i in range(len(target)):
            target[i] = _ZERO
    first = _U(n)
    for i in range(len(target)):
        x = _U(i)
        target[x] += (
            line[x + first] * o
            + line[x + (first + _U(1))] * p
            + line[x + (first + _U(2))] * q
            + line[x + (first + _U(3))] * r
            + line[x + (first + _U(4))] * s
            + line[x + (first + _U(5))] * t
            + line[x + (first + _U(6))] * u
            + line[x + (first + _U(7))] * v
        )


@_compile
def _write(made, gray, line):
    """Write planes, [3, n], or the first of them three times, as pixels, [n, 3]."""
    second, third = _U(0 if gray else 1), _U(0 if gray else 2)
    for x in range(len(line)):
        line[x, 0] = min(made[0, x], _ONE)  # rounding
        line[x, 1] = min(made[second, x], _ONE)
        line[x, 2] = min(made[third, x], _ONE)
