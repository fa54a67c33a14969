"""Slices as pictures, to look at."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.8
SMALLEST_EDGE = 256
"""Pictures with fewer pixels are enlarged by a whole number, so that a browser does not blur them."""


def grey_window(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the grey values that are shown as black and white: nearly all values lie between them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def enlarged(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a small image (row, column) with every pixel repeated, others as they are."""
    factor = max(math.ceil(SMALLEST_EDGE / max(min(image.shape), 1)), 1) if max(image.shape) < 512 else 1
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def write_png(path: Path, image: NDArray[np.float32], window: tuple[float, float]) -> None:
    """Write an image (row, column) as an 8-bit grey PNG; the file is replaced if it exists.

    Takes what `encode_png` does.
    """
    path.write_bytes(encode_png(image, window))


def encode_png(image: NDArray[np.float32], window: tuple[float, float]) -> bytes:
    """Return an image (row, column) as an 8-bit grey PNG.

    Parameters
    ----------
    image
        Grey values; what is not finite is shown black.
    window
        Grey values that become black and white.
    """
    low, high = window
    scaled = np.nan_to_num((image - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    buffer = io.BytesIO()
    Image.fromarray((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
