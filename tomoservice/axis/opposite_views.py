"""Rotation axis from two views half a turn apart: one is the mirror image of the other about the axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.axis.mirror import mirrored_axis
from tomoservice.axis.result import AxisResult, judge, search_window
from tomoservice.errors import EngineError, GeometryError

# Whitening stops where the cross power is this many times the noise.
NOISE_FACTOR = 4.0
# Cycles per column above which a projection holds mostly noise.
NOISE_BAND = 0.35
# Cycles per column above which edges of the sample are aliased, which pulls towards whole columns.
HIGHEST_FREQUENCY = 0.2
TAPER = 0.1
# Columns by which the slopes of both views may move what the correlation found.
FINE_REACH = 1.5
FEWEST_ROWS_TO_TAPER = 16
FINE_STEP = 0.01
# Standard deviations of noise: below the first nothing was found, above the second it was no accident.
NOISE, CERTAIN = 5.0, 12.0


@dataclass(frozen=True)
class _Correlation:
    """Correlation of a view with the mirrored one, as a Fourier series in the column of the mirror."""

    frequency: NDArray[np.float64]
    series: NDArray[np.complex128]
    total: float
    deviation: float

    def at(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the correlation, at most 1, for axes at `offsets` columns from the mirror."""
        phases = np.exp(4j * np.pi * offsets[:, None] * self.frequency)
        result: NDArray[np.float64] = (phases @ self.series).real / self.total
        return result


def phase_correlation(
    projection_0: NDArray[np.float32],
    projection_180: NDArray[np.float32],
    *,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find the rotation axis by phase correlation of two views half a turn apart.

    The cross power spectrum is whitened only where it stands out from the noise, and evaluated between
    columns by its Fourier series, as in Guizar-Sicairos et al. (2008), DOI 10.1364/OL.33.000156. The last
    fraction of a column is that for which the slopes of both views differ least.

    Parameters
    ----------
    projection_0, projection_180 : (row, column) float32 array
        Line integrals (transmission works too) at two angles 180 degrees apart. Not modified.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector.

    Returns
    -------
    AxisResult
        The axis to about 0.05 column, in columns of the projections. The metric is one minus the correlation.

    Raises
    ------
    GeometryError
        If the shapes differ.
    EngineError
        If a projection holds a value that is not finite.
    """
    view, opposite = np.asarray(projection_0), np.asarray(projection_180)
    if view.ndim != 2 or view.shape != opposite.shape or not view.shape[0] or view.shape[1] < 16:
        msg = (
            f"two projections (row, column) of the same shape are needed, at least 16 columns wide, "
            f"got {view.shape} and {opposite.shape}"
        )
        raise GeometryError(msg)
    if not (np.isfinite(view).all() and np.isfinite(opposite).all()):
        msg = "a projection holds values that are not finite; flat field correction and minus log repair them"
        raise EngineError(msg)
    columns = view.shape[1]
    window = search_window(search, columns)
    step = min(0.5, (window[1] - window[0]) / 32)
    candidates = np.arange(window[0], window[1] + step / 2, step)
    middle = (columns - 1) / 2
    metric = 1 - _correlate(view, opposite[:, ::-1]).at(candidates - middle)
    best = float(candidates[np.argmin(metric)])
    significance = 0.0
    for _ in range(2):
        # Only what both views see; mirrored about the column nearest to the axis.
        centre = int(np.clip(round(best), 4, columns - 5))
        half = min(centre, columns - 1 - centre)
        both = slice(centre - half, centre + half + 1)
        correlation = _correlate(view[:, both], opposite[:, both][:, ::-1])
        best = float(np.clip(centre + _peak(correlation, best - centre), *window))
        significance = float(correlation.at(np.array([best - centre]))[0] / correlation.deviation)
    fine = mirrored_axis([(view, opposite)], best, FINE_REACH)
    if fine.certainty > 0:
        best = float(np.clip(fine.axis, *window))
    certainty = min(float(np.clip((significance - NOISE) / (CERTAIN - NOISE), 0, 1)), fine.certainty)
    return replace(judge("phase_correlation", best, (candidates, metric), certainty, step), error=fine.error)


def _peak(correlation: _Correlation, around: float) -> float:
    reach = 2.0
    for step in (0.1, FINE_STEP):
        offsets = around + np.arange(-reach, reach + step / 2, step)
        around = float(offsets[np.argmax(correlation.at(offsets))])
        reach = 2 * step
    return around


def _correlate(view: NDArray[np.float32], mirrored: NDArray[np.float32]) -> _Correlation:
    rows, columns = view.shape
    shape = (fft.next_fast_len(rows), fft.next_fast_len(2 * columns, real=True))
    taper = _taper(columns) if rows < FEWEST_ROWS_TO_TAPER else _taper(rows)[:, None] * _taper(columns)
    first, second = (
        fft.rfft2((part - part.mean(dtype=np.float64)) * taper, shape) for part in (view, mirrored)
    )
    frequency = np.arange(first.shape[1]) / shape[1]
    cross = first * np.conj(second)
    power = np.abs(cross)
    noise = float(np.median(power[:, frequency > NOISE_BAND]))
    floor = NOISE_FACTOR * noise + 1e-6 * float(power.max()) + np.finfo(np.float64).tiny
    # Frequency zero is the mean, which has been taken away.
    weight = power / (power + floor) * ((frequency > 0) & (frequency <= HIGHEST_FREQUENCY))
    whitened = np.where(power > 0, cross / np.maximum(power, np.finfo(np.float64).tiny), 0) * weight
    # View(column) = mirrored(column - 2 offset): the phase of the cross power is -4 pi frequency offset.
    return _Correlation(
        frequency,
        whitened.sum(axis=0),
        max(float(weight.sum()), np.finfo(np.float64).tiny),
        max(_deviation(weight, shape[1] / columns), np.finfo(np.float64).tiny),
    )


def _deviation(weight: NDArray[np.float64], padding: float) -> float:
    """Return the standard deviation of the correlation if all phases were random.

    Padding makes more frequencies than there are independent ones.
    """
    total = float(weight.sum())
    return float(np.sqrt(padding * (weight**2).sum() / 2) / total) if total else 0.0


def _taper(length: int) -> NDArray[np.float64]:
    edge = max(int(TAPER * length), 2)
    rise = np.sin(0.5 * np.pi * (np.arange(edge) + 0.5) / edge) ** 2
    taper = np.ones(length)
    taper[:edge] = rise
    taper[-edge:] = rise[::-1]
    return taper
