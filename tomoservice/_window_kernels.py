"""Compiled loops of `tomoservice.windows`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]

# Places whose medians are computed side by side: a few vector registers.
LANES = 64


@compiled
def running_medians(source: Floats, path: Indices, size: int, out: Floats) -> None:
    """Take medians over `size` neighbouring lines, for every place on them.

    `source` and `out` are (line, place); `path` lists the lines that the window meets, those mirrored at the
    edges included. For an even size the upper of the two middle values counts.

    The window of each place is kept sorted, many places side by side: one pass over it drops the oldest value
    and inserts the newest with comparisons alone, which the compiler turns into vector instructions.
    """
    places = source.shape[1]
    window = np.empty((size + 1, LANES), np.float32)
    oldest, newest = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    below = np.empty(LANES, np.float32)
    for start in range(0, places, LANES):
        count = min(LANES, places - start)
        window[:] = np.inf
        oldest[:] = np.inf
        newest[:] = 0
        for step in range(path.size):
            newest[:count] = source[path[step], start : start + count]
            if step >= size:
                oldest[:] = 0
                oldest[:count] = source[path[step - size], start : start + count]
            below[:] = -np.inf
            for j in range(size):
                for lane in range(LANES):
                    value, above = window[j, lane], window[j + 1, lane]
                    kept = value if value < oldest[lane] else above
                    least = newest[lane] if newest[lane] > below[lane] else below[lane]
                    window[j, lane] = kept if kept < least else least
                    below[lane] = kept
            if step >= size - 1:
                out[step - size + 1, start : start + count] = window[size // 2, :count]
