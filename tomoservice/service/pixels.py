"""Images on their way through HTTP: exact, quantised, or as pictures."""

from __future__ import annotations

import io
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SHADES = (0.5, 99.5)
"""Percentiles of a picture that become black and white, unless somebody says a range."""


class PixelFormat(StrEnum):
    """How an image is sent."""

    FLOAT32 = "float32"
    """Exact values, little endian, in C order."""
    UINT16 = "uint16"
    """Quantised to 65536 levels."""
    UINT8 = "uint8"
    """Quantised to 256 levels."""
    PNG = "png"
    """A picture of 256 shades of grey."""

    @property
    def dtype(self) -> str:
        """Type of a pixel, as NumPy writes it."""
        return {PixelFormat.FLOAT32: "<f4", PixelFormat.UINT16: "<u2"}.get(self, "|u1")

    @property
    def media_type(self) -> str:
        """What it is called in HTTP."""
        return "image/png" if self is PixelFormat.PNG else "application/octet-stream"


def encoded(
    image: NDArray[np.float32], form: PixelFormat, low: float | None = None, high: float | None = None
) -> tuple[bytes, tuple[float, float] | None]:
    """Return an image as bytes, and the values that became the lowest and the highest number.

    Parameters
    ----------
    image : ndarray
        Grey values (row, column). What is no number becomes the lowest.
    form : PixelFormat
        How to send it.
    low, high : float, optional
        Values that become the lowest and the highest number; by default those of the image, of a picture
        two percentiles.
    """
    if form is PixelFormat.FLOAT32:
        return np.ascontiguousarray(image, "<f4").tobytes(), None
    low, high = _levels(image, form, low, high)
    most = np.iinfo(form.dtype).max
    finite = np.nan_to_num(image, nan=low, posinf=high, neginf=low)
    whole = np.clip(np.rint((finite - low) * (most / (high - low))), 0, most).astype(form.dtype)
    return (_png(whole) if form is PixelFormat.PNG else whole.tobytes()), (low, high)


def _levels(
    image: NDArray[np.float32], form: PixelFormat, low: float | None, high: float | None
) -> tuple[float, float]:
    if low is None or high is None:
        finite = image[np.isfinite(image)]
        if not finite.size:
            found = (0.0, 1.0)
        elif form is PixelFormat.PNG:
            found = tuple(np.percentile(finite, SHADES))
        else:
            found = (finite.min(), finite.max())
        low = float(found[0]) if low is None else low
        high = float(found[1]) if high is None else high
    return low, (high if high > low else low + max(abs(low), 1.0) * 1e-6)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
