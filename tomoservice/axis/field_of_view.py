"""Whether the detector sees all of the sample."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# The outer part of what is looked at, and how much of the average level there makes a sample cut off.
RIM, SAMPLE_AT_RIM = 0.05, 0.7


def cut_off(sinograms: Iterable[NDArray[np.float32]], axis: float) -> bool:
    """Return whether the sample is much wider than what views on either side of the axis see.

    Parameters
    ----------
    sinograms : iterable of (angle, column) float32 arrays
        Line integrals. Not modified.
    axis : float
        Detector column; looked at are the columns whose mirror images about it are on the detector.
    """
    rim_level, level = 0.0, 0.0
    for sinogram in sinograms:
        mean = np.abs(sinogram.mean(axis=0, dtype=np.float64))
        distance = np.abs(np.arange(len(mean)) - axis)
        reach = min(axis, len(mean) - 1 - axis)
        level += float(mean[distance <= reach].mean())
        rim_level += float(mean[(distance <= reach) & (distance >= (1 - RIM) * reach - 1)].mean())
    return rim_level > SAMPLE_AT_RIM * level
