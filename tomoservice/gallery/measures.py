"""Figures of merit that stand in the captions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tomoservice.errors import TomoserviceError
from tomoservice.gallery.model import Image
from tomoservice.prep import stripes
from tomoservice.recon import rings

COMPARED = 0.95
"""Part of the field's radius within which a slice is compared with the truth."""


@dataclass(frozen=True)
class Error:
    """How far a slice is from the truth.

    Parameters
    ----------
    psnr_db
        Peak signal-to-noise ratio, dB; the peak is the range of the true values.
    rms
        Root of the mean square error, in the truth's unit.
    """

    psnr_db: float
    rms: float


def fitted(image: Image, size: int) -> Image:
    """Cut or pad a square image (y, x) around its centre to `size`, with zeros."""
    have = image.shape[0]
    cut = max((have - size) // 2, 0)
    image = image[cut : cut + min(have, size), cut : cut + min(have, size)]
    before = (size - image.shape[0]) // 2
    after = size - image.shape[0] - before
    return np.pad(image, (before, after))


def circle(size: int, fraction: float = COMPARED) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return the circle (y, x) around the axis in which slices are compared."""
    offset = np.arange(size) - (size - 1) / 2
    within: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = (
        np.hypot(offset[:, None], offset) <= fraction * size / 2
    )
    return within


def error(image: Image, truth: Image) -> Error:
    """Compare a slice with the truth (y, x), within the smaller one's circle."""
    size = min(image.shape[0], truth.shape[0])
    within = circle(size)
    true = fitted(truth, size)[within].astype(np.float64)
    difference = fitted(image, size)[within] - true
    rms = math.sqrt(float(np.mean(difference**2)))
    span = float(np.ptp(true))
    return Error(20 * math.log10(span / rms) if rms > 0 and span > 0 else math.inf, rms)


def ring_score(image: Image) -> float | None:
    """Return how much concentric structure a slice (y, x) has, or None if it cannot be told."""
    return _told(rings.ring_score, image)


def stripe_score(sinogram: Image) -> float | None:
    """Return how striped a sinogram (angle, column) is, or None if it cannot be told."""
    return _told(stripes.stripe_score, sinogram)


def _told(score: Callable[[Image], float], image: Image) -> float | None:
    try:
        value = float(score(image))
    except TomoserviceError:
        return None
    return value if math.isfinite(value) else None
