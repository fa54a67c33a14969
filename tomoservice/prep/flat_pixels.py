"""Detector pixels that record the beam wrongly: hot, saturated, noisy, or stuck at one value.

Scope: rows. Pixels are compared with others of their row only; `stuck_pixels` needs all angles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.prep.flat_field import around
from tomoservice.prep.saturation import detector_limit
from tomoservice.threads import available_threads, for_each, ranges

# A dark level above the neighbours' by this part of the open beam leaves a pixel no more than the rest.
HOT_FRACTION = 0.5
# Times as noisy over the flats, or as changeable over the projections, as the pixels around it.
NOISY = 5.0
# Times as changeable over the projections as the pixels on either side; a pixel beside air is not stuck.
STUCK = 0.2
FLATS_FOR_NOISE = 5
# Pixels on one side; wide enough to outvote two stuck neighbours.
SIDE = 5


def bad_pixels(
    flats: NDArray[np.generic], dark: NDArray[np.generic] | None = None, *, saturation: float | None = None
) -> NDArray[np.bool_]:
    """Find pixels that are hot, saturated or noisy.

    Hot: the dark level is above the median of the 31 columns around it by more than half the open beam.
    Saturated: half of the flats reach the detector's limit. Noisy, if there are at least 5 flats: their
    standard deviation is more than 5 times the median of the 31 columns around it. Pixels that are dead are
    found by `tomoservice.prep.flat_field.dead_pixels`.

    Parameters
    ----------
    flats : (flat, row, column) real array
        Good flats in counts. Not modified.
    dark : (row, column) real array or None
        Reduced dark field in counts.
    saturation : float, optional
        Counts at which the detector saturates; by default see `tomoservice.prep.saturation.detector_limit`.

    Returns
    -------
    (row, column) bool array
        True where the pixel is bad; for `tomoservice.prep.flat_field.open_beam`.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """
    stack = np.asarray(flats)
    black = None if dark is None else np.nan_to_num(np.asarray(dark, np.float64))
    if stack.ndim != 3 or 0 in stack.shape or (black is not None and black.shape != stack.shape[1:]):
        msg = (
            f"flats {stack.shape} and a dark field {None if black is None else black.shape} are not "
            "(flat, row, column) and (row, column) of one frame"
        )
        raise GeometryError(msg)
    limit: Any = saturation
    if saturation is None:
        limits = [detector_limit(stack[:, row]) for row in range(stack.shape[1])]
        # Row by row, so that a row is judged the same whatever is looked at with it.
        limit = None if limits[0] is None else np.array(limits)[:, None]
    # A zinger saturates one flat.
    saturated = 0 if limit is None else (stack >= limit).mean(axis=0)
    bad = np.zeros(stack.shape[1:], np.bool_) | (saturated >= 0.5)
    with np.errstate(invalid="ignore", over="ignore"):
        if black is not None:
            beam = np.nan_to_num(stack.mean(axis=0, dtype=np.float64)) - black
            bad |= black - around(black) > HOT_FRACTION * np.maximum(around(beam), 1)
        if len(stack) >= FLATS_FOR_NOISE:
            noise = np.nan_to_num(stack.std(axis=0, dtype=np.float64))
            usual = around(noise)
            bad |= (noise > NOISY * usual) & (usual > 0)
    return bad


def stuck_pixels(sinograms: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find pixels that change over the scan much less, or much more, than those on either side.

    A pixel is bad if the standard deviation of its values over all angles is below a fifth of the medians of
    the 5 pixels on its left and of the 5 on its right, or above 5 times both.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Finite transmissions or line integrals of all angles. Not modified.

    Returns
    -------
    (row, column) bool array
        True where the pixel is bad; for `tomoservice.prep.flat_field.bridge_pixels`. All False for fewer than
        3 angles or 11 columns, which tell nothing.

    Raises
    ------
    GeometryError
        If it is no stack of sinograms.
    """
    if sinograms.ndim != 3:
        raise GeometryError(f"stuck pixels are found in (row, angle, column), got shape {sinograms.shape}")
    rows, angles, columns = sinograms.shape
    bad = np.zeros((rows, columns), np.bool_)
    if too_few_to_judge(angles, columns):
        return bad

    def judge(part: tuple[int, int]) -> None:
        for row in range(*part):
            bad[row] = judged_by_change(sinograms[row].std(axis=0, dtype=np.float64))

    for_each(judge, ranges(rows, 4 * available_threads()))
    return bad


def too_few_to_judge(angles: int, columns: int) -> bool:
    """Tell whether there is too little to find stuck pixels in."""
    return angles < 3 or columns < 2 * SIDE + 1


def judged_by_change(change: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pixels of a row (column,) are bad, by the standard deviations of their values."""
    columns = len(change)
    windows = sliding_window_view(np.pad(change, SIDE, mode="reflect"), SIDE)
    sides = np.median(windows, axis=1)
    left, right = sides[:columns], sides[SIDE + 1 : SIDE + 1 + columns]
    stuck: NDArray[np.bool_] = change < STUCK * np.minimum(left, right)
    # What never changes anywhere is no measurement, and nothing to compare with.
    return stuck | ((change > NOISY * np.maximum(left, right)) & (np.minimum(left, right) > 0))
