"""Compiled loop of the correction for beam hardening."""

from __future__ import annotations

import numpy as np

from tomoservice.compiling import compiled


@compiled
def evaluate(values, c):  # type: ignore[no-untyped-def]
    """Replace contiguous float32 p by ``c[0] p + c[1] p^2 + ... + c[7] p^8``; return how many are not finite.

    Eight coefficients written out become whole-register operations, which a loop over them would not; a
    coefficient of 0 leaves the bits as they are without it.
    """
    for i in range(values.size):
        p = values[i]
        y = c[7]
        y = y * p + c[6]
        y = y * p + c[5]
        y = y * p + c[4]
        y = y * p + c[3]
        y = y * p + c[2]
        y = y * p + c[1]
        y = y * p + c[0]
        y = y * p
        values[i] = y
    wild = 0
    for i in range(values.size):
        # NaN is not below anything.
        wild += 0 if abs(values[i]) < np.float32(np.inf) else 1
    return wild
