"""How strong the stripes of a sinogram are, as a number for tables and for comparing methods.

Scope: rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from tomoservice.errors import GeometryError

# Columns that make the background of a stripe; wider stripes count by their edges only.
BACKGROUND = 9
# Parts of the scan that must agree on a stripe: half of them against the other half.
PARTS = 16
# Of a normal distribution's median absolute deviation.
NORMAL = 1.4826


def stripe_score(sinogram: NDArray[np.floating]) -> float:
    """Measure what stays in its column however the sample turns, in units of the noise of one pixel.

    The scan is cut into 16 parts. In the mean of each part, what differs from the median of the 9 columns
    around is noise, sample or stripe. A detail of the sample is in a column during few parts, so the median
    over parts ignores it; noise is not the same in the even and in the odd parts. So the mean product of
    these two medians is the variance of the stripes. It is divided by the variance of the noise, which is
    found from differences of neighbouring angles.

    Parameters
    ----------
    sinogram : (angle, column) float array
        Line integrals. Not modified. At least 2 angles.

    Returns
    -------
    float
        Root mean square of the stripes over all columns, relative to the noise of one pixel: about 0 without
        stripes; 0.1 is faint, 1 is as strong as the noise. Nearly proportional to their strength. A
        sharp edge that stays in its column, as a capillary's around the axis does, raises it too: compare
        sinograms of one sample. 0 for a constant sinogram, NaN if a value is not finite.

    Raises
    ------
    GeometryError
        If it is not a sinogram of at least 2 angles.
    """
    values = np.asarray(sinogram, np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        msg = (
            f"a stripe score needs a sinogram (angle, column) of at least 2 angles, got shape {values.shape}"
        )
        raise GeometryError(msg)
    if not np.isfinite(values).all():
        return float("nan")
    parts = np.array([part.mean(axis=0) for part in np.array_split(values, min(PARTS, len(values)))])
    details = parts - median_filter(parts, (1, BACKGROUND), mode="nearest")
    stripes = np.mean(np.median(details[::2], axis=0) * np.median(details[1::2], axis=0))
    noise = _angular_noise(values)
    return math.sqrt(max(float(stripes), 0.0)) / noise if noise > 0 else 0.0


def _angular_noise(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of the noise, never less than float32's resolution of the values."""
    order = min(2, len(values) - 1)
    changes = np.diff(values, order, axis=0)
    # Second differences of white noise have six times its variance, first ones twice.
    spread = NORMAL * float(np.median(np.abs(changes))) / math.sqrt({1: 2, 2: 6}[order])
    return max(spread, 1e-6 * float(np.max(np.abs(values))))
