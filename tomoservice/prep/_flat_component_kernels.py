"""Compiled loops of the dynamic flat field: the total variation of a corrected projection, and its slope."""

from __future__ import annotations

import numpy as np

from tomoservice.compiling import compiled


@compiled(error_model="numpy")
def _beam(basis, weights, beam):  # type: ignore[no-untyped-def]
    """Fill `beam` with the mixture of `basis`, the first whole; return its mean."""
    total = 0.0
    for row in range(beam.shape[0]):
        for c in range(beam.shape[1]):
            value = basis[0, row, c]
            for k in range(weights.size):
                value += weights[k] * basis[k + 1, row, c]
            beam[row, c] = value
            total += value
    return total / beam.size


@compiled(error_model="numpy")
def total_variation(signal, basis, weights, soft, slope):  # type: ignore[no-untyped-def]
    """Return the total variation of ``signal / beam * mean(beam)`` and fill `slope` with its derivatives.

    `signal` is (row, column), `basis` (1 + k, row, column), `weights` and `slope` (k,), all float64. `soft`
    makes the length of a gradient smooth where the picture is flat.
    """
    rows, columns = signal.shape
    beam, picture, pull = np.empty((rows, columns)), np.empty((rows, columns)), np.zeros((rows, columns))
    level = _beam(basis, weights, beam)
    for row in range(rows):
        for c in range(columns):
            picture[row, c] = signal[row, c] / beam[row, c]
    variation = 0.0
    for row in range(rows - 1):
        for c in range(columns - 1):
            down = picture[row + 1, c] - picture[row, c]
            right = picture[row, c + 1] - picture[row, c]
            length = np.sqrt(down * down + right * right + soft * soft)
            variation += length
            pull[row + 1, c] += down / length
            pull[row, c + 1] += right / length
            pull[row, c] -= (down + right) / length
    for k in range(weights.size):
        along = level_along = 0.0
        for row in range(rows):
            for c in range(columns):
                along -= pull[row, c] * picture[row, c] / beam[row, c] * basis[k + 1, row, c]
                level_along += basis[k + 1, row, c]
        slope[k] = along * level + variation * level_along / beam.size
    return variation * level
