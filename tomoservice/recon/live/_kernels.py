"""Compiled loops of live reconstruction: back-projection of a few views into what is there already."""

from __future__ import annotations

import numpy as np

from tomoservice.compiling import compiled


@compiled(fastmath=True)
def add_slice(lines, steps, centre, first, last, out):  # type: ignore[no-untyped-def]
    """Add views to rows `first` to `last` of a slice `out` (y, x), inside its circle.

    `lines` (view, sample) holds each view, with the axis at sample `centre`; `steps` (view, 2) how many
    samples it advances per pixel to the right, and per pixel upwards.
    """
    size = out.shape[1]
    middle = np.float32(0.5 * (size - 1))
    for row in range(first, last):
        up = middle - np.float32(row)
        reach2 = 0.25 * size * size - up * up
        if reach2 < 0:
            continue
        begin = max(int(np.ceil(middle - np.sqrt(reach2))), 0)
        end = min(int(np.floor(middle + np.sqrt(reach2))) + 1, size)
        target = out[row]
        for view in range(lines.shape[0]):
            line = lines[view]
            step = steps[view, 0]
            start = centre + up * steps[view, 1] - middle * step
            for column in range(begin, end):
                at = start + np.float32(column) * step
                left = np.int32(at)
                part = at - np.float32(left)
                target[column] += line[left] + part * (line[left + 1] - line[left])


@compiled(fastmath=True)
def add_cross_section(lines, positions, first, last, out):  # type: ignore[no-untyped-def]
    """Add views to rows `first` to `last` of a cross-section `out` (z, pixel).

    `lines` (view, row, sample) holds each view; `positions` (view, pixel) the sample that each pixel sees, or
    a negative number outside the circle.
    """
    for view in range(lines.shape[0]):
        place = positions[view]
        for row in range(first, last):
            line = lines[view, row]
            target = out[row]
            for pixel in range(out.shape[1]):
                at = place[pixel]
                if at >= 0:
                    left = np.int32(at)
                    part = at - np.float32(left)
                    target[pixel] += line[left] + part * (line[left + 1] - line[left])


@compiled(fastmath=True)
def add_volume(lines, steps, centres, first, last, out):  # type: ignore[no-untyped-def]
    """Add views to rows `first` to `last` of a volume `out` (y, x, z), inside its circle.

    `lines` (view, sample, z) holds each view, z running fastest; `centres` are the sample of the axis, and
    the voxel where it stands; `steps` as in `add_slice`.
    """
    size, layers = out.shape[1], out.shape[2]
    centre, middle = centres[0], centres[1]
    radius2 = (middle + 0.5) * (middle + 0.5)
    for row in range(first, last):
        up = middle - np.float32(row)
        for column in range(size):
            right = np.float32(column) - middle
            if up * up + right * right > radius2:
                continue
            target = out[row, column]
            for view in range(lines.shape[0]):
                at = centre + right * steps[view, 0] + up * steps[view, 1]
                left = np.int32(at)
                part = at - np.float32(left)
                here, there = lines[view, left], lines[view, left + 1]
                for layer in range(layers):
                    target[layer] += here[layer] + part * (there[layer] - here[layer])


@compiled
def bin_lines(lines, binning, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the mean of each square of pixels of `lines` (view, row, column)."""
    rows, columns = lines.shape[1], lines.shape[2]
    for view in range(out.shape[0]):
        for row in range(out.shape[1]):
            last_row = min((row + 1) * binning, rows)
            for column in range(out.shape[2]):
                last = min((column + 1) * binning, columns)
                total = np.float32(0)
                for y in range(row * binning, last_row):
                    for x in range(column * binning, last):
                        total += lines[view, y, x]
                count = (last_row - row * binning) * (last - column * binning)
                out[view, row, column] = total / np.float32(count)
