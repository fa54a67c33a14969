"""Whether something grows from repetition to repetition, or only wavers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import theilslopes

WARM_UP: Final = 0.5
"""Part of the repetitions that comes first and is not looked at: modules are imported, and caches fill. Those
of Tiled for streaming keep a thousand nodes, which a hundred scans make."""
CONFIDENCE: Final = 0.99
LEAST: Final = 8
"""Repetitions without which nothing can be said."""
PER: Final = 100


@dataclass(frozen=True, slots=True)
class Growth:
    """How something has changed over many repetitions."""

    start: float
    """Median of the first tenth after the warm-up."""
    end: float
    """Median of the last tenth."""
    per_hundred: float
    """Median slope (Theil and Sen), per hundred repetitions."""
    low: float
    """It is at least so much, with 99 % confidence."""
    high: float
    """It is at most so much, with 99 % confidence."""


def growth(values: Sequence[float]) -> Growth:
    """Return how a quantity has grown.

    The slope is the median of all slopes between two repetitions, which single outliers do not move; its
    confidence interval follows from their spread (Sen 1968, doi:10.1080/01621459.1968.10480934).

    Parameters
    ----------
    values : sequence of float
        One value per repetition.

    Raises
    ------
    ValueError
        There are too few.
    """
    kept = np.asarray(values[int(len(values) * WARM_UP) :], dtype=np.float64)
    if kept.size < LEAST:
        raise ValueError(f"growth needs at least {LEAST} repetitions after the warm-up, got {kept.size}")
    slope, _, low, high = theilslopes(kept, np.arange(kept.size), alpha=CONFIDENCE)
    part = max(kept.size // 10, 1)
    return Growth(
        start=float(np.median(kept[:part])),
        end=float(np.median(kept[-part:])),
        per_hundred=float(slope) * PER,
        low=float(low) * PER,
        high=float(high) * PER,
    )
