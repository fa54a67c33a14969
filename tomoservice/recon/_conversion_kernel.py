"""Compiled loop of the conversion to whole numbers."""

from __future__ import annotations

from tomoservice.compiling import compiled


@compiled
def convert(values, low, per_value, largest, numbers):  # type: ignore[no-untyped-def]
    """Fill `numbers` (m, n) with the nearest to ``(values - low) * per_value`` from 0 to `largest`.

    In double precision: a narrow range of large values leaves few of float32's digits. NaN, which is not
    above 0, becomes 0.
    """
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            x = (values[row, column] - low) * per_value
            x = x if x > 0.0 else 0.0
            x = x if x < largest else largest
            # By way of a signed type, for which processors have an instruction.
            numbers[row, column] = int(x + 0.5)
