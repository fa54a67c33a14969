"""Rotation axis from the double wedge in the Fourier transform of a sinogram.

The Fourier transform of a sinogram over a whole turn is empty where the angular frequency exceeds what an
object of the detector's radius can have. A half turn joined with its mirror image makes a whole turn; if the
mirror stands at the wrong column, the joints fill the empty region (Vo et al. 2014,
DOI 10.1364/OE.22.019078).

Differences from the paper: the energy instead of the amplitude is summed, since noise then cancels between
the halves; the mirror is taken in the Fourier transform of the half turn itself, which needs no interpolation
and half the work; each candidate looks only at the columns that both halves see, faded symmetrically about
it, so that a sample wider than the detector makes no edges; frequencies above a quarter per pixel, which
hold mostly noise, and stripes one column wide are left out. What comes and goes at the rim of a sample much
wider than what both halves see fills the empty region, too, and moves the minimum by up to a column: there,
the views next to the joint are compared (`tomoservice.axis.mirror`) to find what lies between columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.ndimage import median_filter

from tomoservice.axis.checks import checked_sinograms
from tomoservice.axis.field_of_view import cut_off
from tomoservice.axis.half_turn import HalfTurn
from tomoservice.axis.mirror import Pair, mirrored_axis
from tomoservice.axis.result import AxisResult, judge, search_window
from tomoservice.threads import available_threads

FEWEST_COLUMNS = 16
# Size of the sinogram on which the whole window is searched.
COARSE_COLUMNS, COARSE_ANGLES = 256, 300
# Angular frequencies near zero hold what stripes and drifts make; at most one twentieth of all.
LOWEST_HARMONIC = 20
HIGHEST_FREQUENCY = 0.25
# Columns: wider structures of the mean over angles belong to the sample, narrower ones to the detector.
STRIPE_WIDTH = 5
# Fade in and out, as a fraction of the columns that both halves see.
TAPER = 0.1
# Columns; a parabola through steps of this size finds what lies between them.
FINE_STEP = 0.1
# What the right joint saves of the energy in the empty region: noise alone saves less than the first, a scan
# that is noisy but usable more than the second.
NOISE, CERTAIN = 0.1, 0.3
# Columns by which the views next to the joint may move the minimum.
JOINT_REACH = 3.0


def fourier(
    sinograms: NDArray[np.float32],
    angles_deg: ArrayLike,
    *,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find the rotation axis by the Fourier method of Vo et al. (2014), DOI 10.1364/OE.22.019078.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals (transmission works too). A few rows with structure in them are enough; their evidence
        adds up. Not modified.
    angles_deg : (angle,) array
        In degrees, in any order, covering about half a turn; of a whole turn the first half is used.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector.

    Returns
    -------
    AxisResult
        The axis to about 0.01 column, in columns of `sinograms`; the curve over the whole window.

    Raises
    ------
    GeometryError
        If shapes do not fit or the angles leave out a part of the half turn.
    EngineError
        If a sinogram holds a value that is not finite.
    """
    data = checked_sinograms(sinograms, angles_deg, FEWEST_COLUMNS)
    low, high = search_window(search, data.shape[2])
    half = HalfTurn.of(angles_deg)
    whole = [_without_stripes(half.apply(row)) for row in data]
    factor = max(math.ceil(data.shape[2] / COARSE_COLUMNS), 1)
    small = [_binned(sinogram, factor) for sinogram in whole]
    curve = _coarse(small, factor, (low, high))
    best = float(curve[0][np.argmin(curve[1])])
    best = _fine(whole, best, (low, high), 0.5 * factor)
    certainty = float(np.clip((_saving(whole, best) - NOISE) / (CERTAIN - NOISE), 0, 1))
    if not cut_off(whole, best):
        return judge("fourier", best, curve, certainty, 0.5 * factor)
    ends = [_ends(half, *sinograms) for sinograms in zip(data, whole, strict=True)]
    joint = mirrored_axis(ends, best, JOINT_REACH)
    if joint.certainty > 0:
        best = float(np.clip(joint.axis, low, high))
    found = judge("fourier", best, curve, min(certainty, joint.certainty), 0.5 * factor)
    return replace(found, error=joint.error)


def _ends(half: HalfTurn, recorded: NDArray[np.float32], sinogram: NDArray[np.float32]) -> Pair:
    """Return views on either side of the joint, and what they are mirror images of.

    Where no view was taken a whole half turn after the first, views are continued by one step along a line: a
    step moves structures by little more than their slopes are smoothed.
    """
    if half.closing is not None:
        stripes = half.apply(recorded)[:1] - sinogram[:1]
        return sinogram[:1], recorded[half.closing][None] - stripes
    before, after = 2 * sinogram[0] - sinogram[1], 2 * sinogram[-1] - sinogram[-2]
    return np.stack([before, sinogram[0]]), np.stack([sinogram[-1], after])


def _without_stripes(sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = sinogram.mean(axis=0)
    smooth = median_filter(mean, min(STRIPE_WIDTH, len(mean)), mode="nearest")
    result: NDArray[np.float32] = sinogram - (mean - smooth)
    return result


def _binned(sinogram: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Average blocks of columns, and of angles as long as more than enough remain."""
    angles, columns = sinogram.shape
    # A divisor, because half a turn must stay half a turn.
    several = next((n for n in range(angles // COARSE_ANGLES, 1, -1) if angles % n == 0), 1)
    used = columns // factor * factor
    blocks = sinogram[:, :used].reshape(angles // several, several, used // factor, factor)
    binned: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return binned


def _coarse(
    sinograms: list[NDArray[np.float32]], factor: int, window: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the curve over the window, at every half of a (binned) column."""
    # Column c of the full width is the middle of binned column (c - (factor - 1) / 2) / factor.
    low, high = ((edge - (factor - 1) / 2) / factor for edge in window)
    last = sinograms[0].shape[1] - 1
    step = min(0.5, (high - low) / 32)
    places = np.clip(np.arange(low, high + step / 2, step), 2, last - 2)
    with ThreadPoolExecutor(available_threads(), thread_name_prefix="axis") as pool:
        metric = np.array(
            list(pool.map(lambda place: _misfit(sinograms, place, min(place, last - place)), places))
        )
    return places * factor + (factor - 1) / 2, metric


def _fine(
    sinograms: list[NDArray[np.float32]], start: float, window: tuple[float, float], step: float
) -> float:
    """Return the axis at full resolution."""
    last = sinograms[0].shape[1] - 1
    # The same for all candidates, so that they can be compared to the last digit.
    reach = max(min(start, last - start) - 2 * step, 2.0)

    @cache
    def misfit(axis: float) -> float:
        return _misfit(sinograms, float(np.clip(axis, reach, last - reach)), reach, pool)

    with ThreadPoolExecutor(available_threads(), thread_name_prefix="axis") as pool:
        best = _lowest(misfit, start, step)
    return float(np.clip(best, *window))


def _lowest(misfit: Callable[[float], float], start: float, step: float) -> float:
    """Return where a function has its minimum near `start`, by steps that become smaller and a parabola."""
    best, least = start, misfit(start)
    while step > FINE_STEP:
        sides = {axis: misfit(axis) for axis in (best - step, best + step)}
        nearest = min(sides, key=lambda axis: sides[axis])
        if sides[nearest] < least:
            best, least = nearest, sides[nearest]
        else:
            step /= 2
    offsets = FINE_STEP * np.arange(-2, 3)
    curvature, slope, _ = np.polyfit(offsets, [misfit(best + offset) for offset in offsets], 2)
    if curvature > 0:
        best += float(np.clip(-slope / (2 * curvature), offsets[0], offsets[-1]))
    return best


def _saving(sinograms: list[NDArray[np.float32]], axis: float) -> float:
    """Return the part of the energy in the empty region that joining at `axis` saves.

    Counted without the mean: a wide sample without features fits its mirror image wherever one looks.
    """
    columns = sinograms[0].shape[1]
    reach = min(axis, columns - 1 - axis)
    fade = _fade(columns, axis, reach)
    level = [np.average(sinogram.mean(axis=0), weights=fade) for sinogram in sinograms]
    return 1 - _misfit(
        [sino - np.float32(mean) for sino, mean in zip(sinograms, level, strict=True)], axis, reach
    )


def _misfit(
    sinograms: list[NDArray[np.float32]], axis: float, reach: float, pool: Executor | None = None
) -> float:
    """Return the energy in the empty region, relative to two halves with nothing in common; rows add up.

    Columns farther than `reach` from the axis are not looked at. Threads of `pool` share the rows.
    """
    each = map if pool is None else pool.map
    energies = np.array(list(each(lambda sinogram: _empty_energy(sinogram, axis, reach), sinograms)))
    joined, apart = energies.sum(axis=0)
    # The rounding of a sinogram of zeros is nobody's evidence.
    return float(max(joined, 0) / apart) if apart > np.finfo(np.float32).tiny else 1.0


def _empty_energy(sinogram: NDArray[np.float32], axis: float, reach: float) -> tuple[float, float]:
    """Return the energy in the empty region of half a turn joined with its mirror, and of the two apart."""
    from tomoservice.axis._wedge_kernels import empty_energy as kernel

    angles, columns = sinogram.shape
    length = fft.next_fast_len(columns, real=True)
    # Above the second, nothing is empty.
    highest = min(HIGHEST_FREQUENCY, angles / (2 * np.pi * reach))
    frequency = np.arange(1, max(int(highest * length), 1) + 1) / length
    seen = sinogram * _fade(columns, axis, reach)
    spectrum = fft.rfft(seen, length, axis=1)[:, 1 : len(frequency) + 1]
    # From the axis, so that mirroring is taking the complex conjugate.
    spectrum *= np.exp(2j * np.pi * frequency * axis).astype(np.complex64)
    turn = fft.fft(np.ascontiguousarray(spectrum.T), 2 * angles, axis=1)
    lowest = min(LOWEST_HARMONIC, max(angles // 10, 1))
    first = np.floor(np.maximum(2 * np.pi * reach * frequency, lowest)).astype(np.int64) + 1
    joined, apart = kernel(turn, first)
    return float(joined), float(apart)


def _fade(columns: int, axis: float, reach: float) -> NDArray[np.float32]:
    """Return a window of constant shape about the axis, zero beyond `reach` from it."""
    distance = np.abs(np.arange(columns) - axis)
    rise = np.clip((reach - distance) / max(2 * TAPER * reach, 1), 0, 1)
    fade: NDArray[np.float32] = (np.sin(0.5 * np.pi * rise) ** 2).astype(np.float32)
    return fade
