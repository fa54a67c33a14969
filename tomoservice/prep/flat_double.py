"""Double flat field: what all projections have in common, and the sample cannot have caused.

A pattern that stands still while the sample turns, and is finer than what a turning sample leaves in the mean
of its projections, comes from the beam or the detector; subtracting it removes rings. Scope: rows + margin of
`row_margin(sigma)`, with all angles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import available_threads, for_each, ranges

# Where the Gaussian ends, in standard deviations: beyond lies 6e-6 of it.
TRUNCATE = 4.5


def row_margin(sigma: float) -> int:
    """Return how many rows above and below a slab its fixed pattern depends on."""
    return int(TRUNCATE * sigma + 0.5)


def fixed_pattern(sinograms: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the pattern that stands still: the mean over angles without what is smooth in it.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Finite line integrals of all angles, with `row_margin` rows more above and below where the detector
        has them. Not modified.
    sigma : float
        Standard deviation in pixels of the Gaussian that tells smooth from fine. Structures of the sample
        that stay where they are (on the rotation axis) and are finer count as pattern.

    Returns
    -------
    (row, column) float32 array
        The pattern; within `row_margin` rows of an end that is not the detector's it is not right.

    Raises
    ------
    EngineError
        If `sigma` is not above 0.
    GeometryError
        If there is no angle.
    """
    if sinograms.ndim != 3 or 0 in sinograms.shape:
        raise GeometryError(f"a double flat field wants (row, angle, column), got shape {sinograms.shape}")
    mean = np.empty((sinograms.shape[0], sinograms.shape[2]), np.float64)

    def average(rows: tuple[int, int]) -> None:
        for row in range(*rows):
            mean[row] = sinograms[row].mean(axis=0, dtype=np.float64)

    for_each(average, ranges(len(mean), 4 * available_threads()))
    return fine_part(mean, sigma)


def fine_part(mean: NDArray[np.float64], sigma: float) -> NDArray[np.float32]:
    """Return a mean over angles (row, column) without what is smooth in it; see `fixed_pattern`."""
    from scipy.ndimage import gaussian_filter

    if not (np.isfinite(sigma) and sigma > 0):
        raise EngineError(f"the Gaussian of the double flat field has a width above 0, got {sigma}")
    smooth = gaussian_filter(mean, sigma, mode="nearest", radius=row_margin(sigma))
    return (mean - smooth).astype(np.float32)


def subtract_pattern(sinograms: NDArray[np.float32], pattern: NDArray[np.float32]) -> None:
    """Subtract the pattern that stands still from line integrals, in place.

    In transmissions this is the division by the mean of all projections relative to its smoothed self, as the
    double flat field is mostly described, but for the order of mean and logarithm; taken after the logarithm
    it is exact for a factor that stands still.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals; modified.
    pattern : (row, column) float32 array
        From `fixed_pattern`, for the same rows.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """
    if pattern.shape != (sinograms.shape[0], sinograms.shape[2]):
        msg = f"a pattern of {pattern.shape} (row, column) does not fit sinograms of shape {sinograms.shape}"
        raise GeometryError(msg)

    def subtract(rows: tuple[int, int]) -> None:
        for row in range(*rows):
            sinograms[row] -= pattern[row]

    for_each(subtract, ranges(len(pattern), 4 * available_threads()))
