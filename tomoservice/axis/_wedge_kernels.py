"""Compiled loop of `tomoservice.axis.double_wedge`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled


@compiled(error_model="numpy")
def empty_energy(turn: NDArray[np.complex64], first: NDArray[np.int64]) -> tuple[float, float]:
    """Return the energy in the empty region of a whole turn made of two halves, and that of the two apart.

    `turn` is (frequency, harmonic) of one half, padded to a whole turn with zeros; `first` is the first
    harmonic of the empty region for each frequency. The other half is the mirror of the one, half a turn
    later: its coefficients are complex conjugates of those of negative harmonics, every other one negated.
    """
    angles = turn.shape[1] // 2
    joined, apart = 0.0, 0.0
    for frequency in range(turn.shape[0]):
        for harmonic in range(first[frequency], angles):
            positive, negative = turn[frequency, harmonic], turn[frequency, 2 * angles - harmonic]
            apart += positive.real**2 + positive.imag**2 + negative.real**2 + negative.imag**2
            product = positive.real * negative.real - positive.imag * negative.imag
            joined += -product if harmonic % 2 else product
    return apart + 2 * joined, apart
