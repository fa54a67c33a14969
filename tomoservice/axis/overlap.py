"""Rotation axis of a scan over a whole turn, from what opposite views both see.

If the axis is near one side of the detector, only a strip about the axis is seen both by a view and by the
one half a turn later, where it is mirrored (half-acquisition; Vo et al. 2021, DOI 10.1364/OE.418448). Where
the strip of the first half of the sinogram looks most like the mirrored second half, there is the axis.

Differences from the paper: the correlation coefficient of every possible strip is computed, of all views at
once and through Fourier transforms, so that no width of a window has to be guessed and both sides are
searched alike; the mean over the angles, which holds all stripes, and slow changes along the columns, which
hold drifts of the beam, are taken away first; `tomoservice.axis.mirror` finds what lies between columns.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from tomoservice.axis.checks import checked_sinograms
from tomoservice.axis.half_turn import WholeTurn
from tomoservice.axis.mirror import Pair, mirrored_axis
from tomoservice.axis.result import AxisResult, judge, search_window

# Part of the detector above which the width of a strip is no argument against it.
ENOUGH_PART = 0.1
# Size of the sinograms on which all strips are compared.
COARSE_COLUMNS, COARSE_ANGLES = 1024, 400
FEWEST_COLUMNS = 32
# Narrowest strip to be compared, in columns and as a part of the detector.
NARROWEST, NARROWEST_PART = 16, 0.02
# Columns on either side of the middle of a window, at least.
NARROWEST_WINDOW = 1.0
# Structures that are compared: standard deviations of the Gaussians whose difference selects them.
FINEST, WIDEST_PART = 1.0, 0.05
# Columns on either side among which the fine search looks, in units of the coarse one's.
FINE_REACH = 2.0
# Energy, relative to the average column's, below which a strip is as good as empty.
FAINT = 0.1
# A correlation below the first can be an accident, one above the second hardly.
NOISE, CERTAIN = 0.1, 0.4


def overlap(
    sinograms: NDArray[np.float32],
    angles_deg: ArrayLike,
    *,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find the rotation axis of a whole turn from the overlap of opposite views, DOI 10.1364/OE.418448.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals (transmission works too). A few rows; their evidence adds up. Not modified.
    angles_deg : (angle,) array
        In degrees, in any order, covering a whole turn.
    search : (float, float), optional
        First and last column to look at, two columns apart at least; by default the whole detector, as far
        as opposite views share at least 2 % of it.

    Returns
    -------
    AxisResult
        The axis in columns of `sinograms`, with `side` and `overlap`. The metric is one minus the
        correlation coefficient of the strips, which counts less for strips below 10 % of the detector.

    Raises
    ------
    GeometryError
        If shapes do not fit or the angles leave out a part of the turn.
    EngineError
        If a sinogram holds a value that is not finite.
    """
    data = checked_sinograms(sinograms, angles_deg, FEWEST_COLUMNS)
    columns = data.shape[2]
    factor = max(math.ceil(columns / COARSE_COLUMNS), 1)
    window = _window(search, columns, factor)
    turn = WholeTurn.of(angles_deg)
    every = max(len(turn.first.weight) // COARSE_ANGLES, 1)
    # Squares of what is very large or very small would not be numbers any more.
    scale = np.float32(max(float(np.abs(data).max()), float(np.finfo(np.float32).tiny)))
    halves = [_halves(sinogram / scale, turn, every) for sinogram in data]
    curve = _coarse(halves, factor, window)
    best = float(curve[0][np.argmin(curve[1])])
    correlation = 1 - float(curve[1].min())
    fine = mirrored_axis(halves, best, FINE_REACH * factor)
    best = float(np.clip(fine.axis, *window))
    certainty = min(float(np.clip((correlation - NOISE) / (CERTAIN - NOISE), 0, 1)), fine.certainty)
    found = judge("overlap", best, curve, certainty, min(0.5 * factor, (window[1] - window[0]) / 32))
    shared = 2 * min(best, columns - 1 - best) + 1
    side = "left" if best < (columns - 1) / 2 else "right"
    note = f"{found.note} Opposite views share {shared:.0f} of {columns} columns, on the {side}."
    return replace(found, error=fine.error, side=side, overlap=shared, note=note)


def _window(search: tuple[float, float] | None, columns: int, factor: int) -> tuple[float, float]:
    """Return the columns between which to look: all that share enough, and enough to see a minimum."""
    edge = (max(NARROWEST, NARROWEST_PART * columns) - 1) / 2
    low, high = (edge, columns - 1 - edge) if search is None else search_window(search, columns)
    middle, least = (low + high) / 2, NARROWEST_WINDOW * factor
    return max(min(low, middle - least), 1.0), min(max(high, middle + least), columns - 2.0)


def _halves(sinogram: NDArray[np.float32], turn: WholeTurn, every: int) -> Pair:
    """Return both halves of the turn (angle, column), without what does not turn.

    What is taken away with it, the mean over the whole turn, is the only thing that stripes add to.
    """
    still = sinogram.mean(axis=0)
    first, second = (half.apply(sinogram)[::every] - still for half in (turn.first, turn.second))
    return first, second


def _coarse(
    halves: list[Pair],
    factor: int,
    window: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the curve over the window, at every half of a (binned) column."""
    columns = halves[0][0].shape[1] // factor
    length = fft.next_fast_len(2 * columns, real=True)
    cross = np.zeros(length // 2 + 1, np.complex128)
    power = np.zeros((2, columns))
    for pair in halves:
        first, second = (_structures(_binned(half, factor)) for half in pair)
        transforms = fft.rfft(first, length, axis=1), fft.rfft(second, length, axis=1)
        cross += (transforms[0] * transforms[1]).sum(axis=0, dtype=np.complex128)
        power += [(half.astype(np.float64) ** 2).sum(axis=0) for half in (first, second)]
    # The sum over j of first[j] second[total - j] for every total: twice the axis.
    product = fft.irfft(cross, length)
    low, high = (2 * ((edge - (factor - 1) / 2) / factor) for edge in window)
    totals = np.arange(max(math.ceil(low), 1), min(math.floor(high), 2 * columns - 3) + 1)
    sums = np.concatenate([np.zeros((2, 1)), np.cumsum(power, axis=1)], axis=1)
    start, stop = np.maximum(totals - columns + 1, 0), np.minimum(totals, columns - 1) + 1
    energies = sums[:, stop] - sums[:, start]
    # What is far fainter than the rest is noise or rounding, and correlates by accident.
    floor = FAINT * power.mean(axis=1, keepdims=True) * (stop - start) + np.finfo(np.float32).tiny
    correlation = product[totals] / np.sqrt((energies + floor).prod(axis=0))
    # Narrow strips resemble each other more easily.
    metric = 1 - correlation * np.sqrt(np.minimum((stop - start) / (ENOUGH_PART * columns), 1))
    return totals / 2 * factor + (factor - 1) / 2, np.clip(metric, 0, 2)


def _binned(half: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    used = half.shape[1] // factor * factor
    binned: NDArray[np.float32] = half[:, :used].reshape(len(half), -1, factor).mean(axis=2)
    return binned


def _structures(half: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is neither as narrow as a pixel nor as wide as the sample."""
    fine = gaussian_filter1d(half, FINEST, axis=1, mode="nearest")
    wide = gaussian_filter1d(half, WIDEST_PART * half.shape[1], axis=1, mode="nearest")
    structures: NDArray[np.float32] = fine - wide
    return structures
