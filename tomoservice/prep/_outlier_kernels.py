"""Compiled loops of the removal of outliers: medians of small windows by networks of comparisons.

A network has no branches, so a loop over columns becomes whole-register minima and maxima.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from tomoservice.compiling import compiled
from tomoservice.prep._flat_kernels import bridge_wild, is_wild

BRIGHT, DARK, BOTH = 1, 2, 3


def median_network(count: int) -> list[tuple[int, int]]:
    """Return comparisons (i, j), smaller to i and larger to j, that bring the median to ``count // 2``.

    Batcher's odd-even merge sort (K. E. Batcher, Sorting networks and their applications, 1968), without
    what the median does not depend on.
    """
    pairs = []
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(min(k, count - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    wanted, kept = {count // 2}, []
    for i, j in reversed(pairs):
        if i in wanted or j in wanted:
            wanted |= {i, j}
            kept.append((i, j))
    return kept[::-1]


def _median_of(count: int) -> Callable[..., Any]:
    """Return a function of the compiled code: the median of `count` numbers given as a tuple."""
    network = median_network(count)

    @intrinsic
    def median(_typing, values):  # type: ignore[no-untyped-def]
        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            cells = [builder.extract_value(arguments[0], k) for k in range(count)]
            for i, j in network:
                less = builder.fcmp_ordered("<", cells[i], cells[j])
                low, high = cells[i], cells[j]
                cells[i] = builder.select(less, low, high)
                cells[j] = builder.select(less, high, low)
            return cells[count // 2]

        return types.float32(values), generate

    return median


_median_3, _median_5, _median_9, _median_25 = (_median_of(count) for count in (3, 5, 9, 25))


@compiled
def _medians_3_by_3(ring, medians):  # type: ignore[no-untyped-def]
    p, q, r = ring[0], ring[1], ring[2]
    for c in range(medians.size):
        medians[c] = _median_9((p[c], p[c + 1], p[c + 2], q[c], q[c + 1], q[c + 2], r[c], r[c + 1], r[c + 2]))


@compiled
def _medians_5_by_5(ring, medians):  # type: ignore[no-untyped-def]
    p, q, r, s, t = ring[0], ring[1], ring[2], ring[3], ring[4]
    for c in range(medians.size):
        medians[c] = _median_25(
            (
                *(p[c], p[c + 1], p[c + 2], p[c + 3], p[c + 4]),
                *(q[c], q[c + 1], q[c + 2], q[c + 3], q[c + 4]),
                *(r[c], r[c + 1], r[c + 2], r[c + 3], r[c + 4]),
                *(s[c], s[c + 1], s[c + 2], s[c + 3], s[c + 4]),
                *(t[c], t[c + 1], t[c + 2], t[c + 3], t[c + 4]),
            )
        )


@compiled
def _medians_across(ring, medians):  # type: ignore[no-untyped-def]
    """Take the median over lines only, of 3 or 5."""
    p, q, r = ring[0], ring[1], ring[2]
    if ring.shape[0] == 3:
        for c in range(medians.size):
            medians[c] = _median_3((p[c], q[c], r[c]))
        return
    s, t = ring[3], ring[4]
    for c in range(medians.size):
        medians[c] = _median_5((p[c], q[c], r[c], s[c], t[c]))


@compiled
def _load(line, radius, padded):  # type: ignore[no-untyped-def]
    """Copy a line between `radius` repetitions of its first and last pixel."""
    columns = line.size
    padded[radius : radius + columns] = line
    for k in range(radius):
        padded[k] = line[0]
        padded[radius + columns + k] = line[columns - 1]


@compiled(fastmath={"contract", "reassoc"})
def _noise(line, medians):  # type: ignore[no-untyped-def]
    """Return the mean distance of a line from its medians, twice without what stands out."""
    most = np.float32(np.inf)
    mean = np.float32(0)
    for _ in range(3):
        total = np.float32(0)
        for c in range(line.size):
            distance = abs(line[c] - medians[c])
            total += distance if distance < most else most
        mean = total / np.float32(line.size)
        most = np.float32(4) * mean
    return mean


@compiled
def _replace(line, original, medians, threshold, kind):  # type: ignore[no-untyped-def]
    count = 0
    for c in range(line.size):
        excess = original[c] - medians[c]
        bright = (kind & BRIGHT) != 0 and excess > threshold
        dark = (kind & DARK) != 0 and -excess > threshold
        out = bright or dark
        line[c] = medians[c] if out else original[c]
        count += out
    return count


@compiled
def window_medians(ring, wide, medians):  # type: ignore[no-untyped-def]
    """Take the medians of the lines in `ring`: over lines, or over as many columns as well."""
    if not wide:
        _medians_across(ring, medians)
    elif ring.shape[0] == 3:
        _medians_3_by_3(ring, medians)
    else:
        _medians_5_by_5(ring, medians)


@compiled
def mend_lines(target, shape, part):  # type: ignore[no-untyped-def]
    """Bridge what is not finite in lines, in place; return how many values that were."""
    columns, count = shape[2], 0
    nothing = np.zeros(columns, np.bool_)
    for frame in range(part[0], part[1]):
        for row in range(part[2], part[3]):
            line = target.data[frame * target.frame_step + row * target.row_step :][:columns]
            wild = 0
            for c in range(columns):
                wild += is_wild(line[c])
            if wild:
                count += wild
                bridge_wild(line, nothing)
    return count


@compiled
def replace_outliers(target, shape, part, window, limits):  # type: ignore[no-untyped-def]
    """Replace what stands out from the medians of its window, in place; return how many values that were.

    `window` is (lines, whether it is as wide in columns); the frames of `part` are worked on whole. At the
    first and last lines a wide window repeats the outermost line; one over lines only moves inwards, so that
    no line is compared with copies of itself. `limits` is (least threshold, threshold / mean distance, kind):
    kind 0 puts the medians in the place of every value.
    """
    rows, columns = shape[1], shape[2]
    size, wide = window
    radius = size // 2 if wide else 0
    count = 0
    ring = np.empty((size, columns + 2 * radius), np.float32)
    medians = np.empty(columns, np.float32)
    for frame in range(part[0], part[1]):
        loaded = -(size // 2) if wide else 0
        for row in range(rows):
            first = row - size // 2
            if not wide:
                first = min(max(first, 0), rows - size)
            # A line is read before any line near it is written.
            while loaded < first + size:
                start = frame * target.frame_step + min(max(loaded, 0), rows - 1) * target.row_step
                _load(target.data[start:][:columns], radius, ring[(loaded + size) % size])
                loaded += 1
            window_medians(ring, wide, medians)
            line = target.data[frame * target.frame_step + row * target.row_step :][:columns]
            if limits[2] == 0:
                line[:] = medians
                continue
            original = ring[row % size][radius:][:columns]
            threshold = limits[0]
            if limits[1] > 0:
                threshold = max(threshold, limits[1] * _noise(original, medians))
            count += _replace(line, original, medians, threshold, limits[2])
    return count
