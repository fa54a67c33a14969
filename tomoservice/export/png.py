"""Slices as pictures, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.8


def grey_window(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the grey values that are shown as black and white: nearly all values lie between them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def write_png(path: Path, image: NDArray[np.float32], window: tuple[float, float]) -> None:
    """Write an image (row, column) as an 8-bit grey PNG.

    Parameters
    ----------
    path
        File, replaced if it exists.
    image
        Grey values; what is not finite is shown black.
    window
        Grey values that become black and white.
    """
    low, high = window
    scaled = np.nan_to_num((image - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    Image.fromarray((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)).save(path)
