"""Compiled loops of the averaging of neighbouring voxels."""

from __future__ import annotations

from tomoservice.compiling import compiled


@compiled
def average(values, factors, means):  # type: ignore[no-untyped-def]
    """Fill `means` (m, n) with the mean of what is not NaN of each block of `values` (k, m', n').

    `factors` says how many rows and columns a block has; all layers of `values` belong to it. Blocks at the
    far edges may have fewer. In double precision: the order of the sums does not show.
    """
    layers, rows, columns = values.shape
    for row in range(means.shape[0]):
        first_row = row * factors[0]
        last_row = min(first_row + factors[0], rows)
        for column in range(means.shape[1]):
            first = column * factors[1]
            last = min(first + factors[1], columns)
            total, count = 0.0, 0
            for z in range(layers):
                for y in range(first_row, last_row):
                    for x in range(first, last):
                        value = values[z, y, x]
                        if value == value:  # noqa: PLR0124  (false for NaN alone)
                            total += value
                            count += 1
            means[row, column] = total / count if count else values[0, first_row, first]


@compiled
def average_whole(values, factors, means):  # type: ignore[no-untyped-def]
    """Fill `means` (m, n) with the nearest whole number to the mean of each block of `values`, halves up."""
    layers, rows, columns = values.shape
    for row in range(means.shape[0]):
        first_row = row * factors[0]
        last_row = min(first_row + factors[0], rows)
        for column in range(means.shape[1]):
            first = column * factors[1]
            last = min(first + factors[1], columns)
            total, count = 0, layers * (last_row - first_row) * (last - first)
            for z in range(layers):
                for y in range(first_row, last_row):
                    for x in range(first, last):
                        total += int(values[z, y, x])
            means[row, column] = (2 * total + count) // (2 * count)
