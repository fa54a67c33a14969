"""Rotation axis by looking at slices: the right one is the plainest.

With a wrong axis, edges open into crescents and grey values spread. Donath, Beckmann and Schreyer (2006,
DOI 10.1364/JOSAA.23.001048) measure that by the entropy of the histogram and by what falls below zero.
Measures of sharpness are no help: a slice's energy, and that of its gradient, hardly depend on the axis,
which only shifts the phases of its Fourier transform, and its total variation is least where the wrong axis
blurs everything.

Slow compared with the other methods, since it reconstructs for each candidate, but independent of them: it
compares no opposite views. What leaves streaks or shades of its own misleads it: views missing from half a
turn, a sample wider than the field of view. A few rows are searched, binned first, then finer and finer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, median_filter

from tomoservice.axis.checks import checked_sinograms
from tomoservice.axis.field_of_view import cut_off
from tomoservice.axis.result import AxisResult, judge, search_window

# Widths of the binned sinograms on which the whole window is searched, and the axis found between columns.
COARSE_COLUMNS, FINE_COLUMNS = 256, 1024
# Slices of fewer pixels across have no histogram to speak of.
FEWEST_COLUMNS = 64
# Views that are enough for the coarse search.
COARSE_ANGLES = 400
MOST_ROWS = 2
# Rows and columns of slices are smoothed by so many pixels: noise hides edges from every metric.
SMOOTHING = 1.0
BINS = 64
# Per cent of the pixels whose grey values may leave the histogram on either side.
TAIL = 0.1
# The part of a slice's radius that is looked at: the rim has artefacts of its own.
INNER = 0.95
STRIPE_WIDTH = 5
# Bytes of slices that are held at once.
BATCH_BYTES = 64 << 20
# How many times deeper than the roughness of the curve a minimum is: an accident, and none.
NOISE, CERTAIN = 6.0, 20.0
# Degrees that may be without views.
WIDEST_GAP_DEG = 10.0
# What is left of the certainty, and columns by which the axis is off, where slices mislead.
MISLED_CERTAINTY, LIMITED_ERROR, CUT_OFF_ERROR = 0.45, 2.0, 0.3


class ImageMetric(StrEnum):
    """How plain a slice is; the smaller, the plainer."""

    ENTROPY = "entropy"
    """Of the histogram of grey values."""
    NEGATIVITY = "negativity"
    """Sum of what is below zero; wants a sample that fits into the field of view."""


class Reconstruct(Protocol):
    """Makes slices: the reconstruction that the recipe asks for, or any other."""

    def __call__(
        self, sinograms: NDArray[np.float32], angles_deg: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Reconstruct each sinogram of (row, angle, column) about its own axis; return (row, N, N)."""
        ...


def image_metric(
    sinograms: NDArray[np.float32],
    angles_deg: ArrayLike,
    reconstruct: Reconstruct,
    *,
    metric: ImageMetric = ImageMetric.ENTROPY,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find the rotation axis that gives the plainest slice, DOI 10.1364/JOSAA.23.001048.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals; the two rows with most structure are looked at. Not modified.
    angles_deg : (angle,) array
        In degrees, in any order.
    reconstruct : Reconstruct
        Makes the slices.
    metric : ImageMetric, default entropy
        How plain a slice is.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector.

    Returns
    -------
    AxisResult
        The axis in columns of `sinograms`. The metric is counted from its least value.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    EngineError
        If a sinogram holds a value that is not finite.
    """
    data = checked_sinograms(sinograms, angles_deg, FEWEST_COLUMNS)
    angles = np.asarray(angles_deg, np.float64)
    columns = data.shape[2]
    window = search_window(search, columns)
    whole = _without_stripes(_most_structured(data))
    factor = max(math.ceil(columns / COARSE_COLUMNS), 1)
    step = min(float(factor), (window[1] - window[0]) / 32)
    candidates = np.arange(window[0], window[1] + step / 2, step)
    few = np.argsort(np.mod(angles, 360), kind="stable")[:: max(len(angles) // COARSE_ANGLES, 1)]
    search_in = _Slices(_binned(whole[:, few], factor), angles[few], factor, reconstruct, metric)
    values = search_in.values(candidates, (window[0] + window[1]) / 2)
    best = float(candidates[np.argmin(values)])
    certainty = float(np.clip((_significance(values) - NOISE) / (CERTAIN - NOISE), 0, 1))
    finest = max(columns // FINE_COLUMNS, 1)
    while True:
        factor = max(factor // 4, finest)
        level = _Slices(_binned(whole, factor), angles, factor, reconstruct, metric)
        best, step = level.refined(best, step, window)
        if factor == finest and step <= finest:
            break
    curve = (candidates, values - values.min())
    doubt, error = _doubt(whole, angles, best)
    if doubt is None:
        return judge(metric.value, best, curve, certainty, 0.5 * step)
    found = judge(metric.value, best, curve, min(certainty, MISLED_CERTAINTY), 0.5 * step)
    note = found.note if found.at_window_edge else f"Column {best:.2f} may be off: {doubt}."
    return replace(found, error=error, note=note)


def _doubt(
    sinograms: NDArray[np.float32], angles_deg: NDArray[np.float64], best: float
) -> tuple[str | None, float | None]:
    """Return what misleads the metric, if anything does, and by how many columns."""
    half_turn = np.sort(np.mod(angles_deg, 180))
    widest = float(np.diff(half_turn, append=half_turn[0] + 180).max())
    if widest > WIDEST_GAP_DEG:
        return f"{widest:.1f} degrees of the half turn are without views", LIMITED_ERROR
    if cut_off(sinograms, best):
        return "the sample is wider than the field of view", CUT_OFF_ERROR
    return None, None


@dataclass(frozen=True)
class _Slices:
    """Slices of binned sinograms, and how plain they are."""

    sinograms: NDArray[np.float32]
    angles_deg: NDArray[np.float64]
    factor: int
    reconstruct: Reconstruct
    metric: ImageMetric

    def refined(self, best: float, step: float, window: tuple[float, float]) -> tuple[float, float]:
        """Return the plainest between two coarser candidates, and how well it is known."""
        finer = max(step / 4, 0.25 * self.factor)
        places = np.asarray(best + finer * np.arange(-6, 7), np.float64)
        places = places[(places >= window[0]) & (places <= window[1])]
        if len(places) < 4:
            return best, finer
        from scipy.interpolate import CubicSpline

        curve = CubicSpline(places, self.values(places, best))
        between = np.linspace(places[0], places[-1], 50 * (len(places) - 1) + 1)
        return float(between[np.argmin(curve(between))]), finer

    def values(self, axes: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
        """Return the metric for each axis (columns of the full width), rows added up.

        The grey values of the slice at the `reference` axis say what the histogram is counted between.
        """
        columns = self.sinograms.shape[2]
        # Column c of the full width is the middle of binned column (c - (factor - 1) / 2) / factor.
        places = np.clip((axes - (self.factor - 1) / 2) / self.factor, 1, columns - 2)
        middle = float(np.clip((reference - (self.factor - 1) / 2) / self.factor, 1, columns - 2))
        total = np.zeros(len(axes))
        batch = max(BATCH_BYTES // (4 * columns * columns), 1)
        for sinogram in self.sinograms:
            limits = grey_limits(self._slices(sinogram, np.array([middle]))[0])
            for start in range(0, len(axes), batch):
                part = slice(start, min(start + batch, len(axes)))
                slices = self._slices(sinogram, places[part])
                total[part] += [plainness(image, self.metric, limits) for image in slices]
        return total / len(self.sinograms)

    def _slices(self, sinogram: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
        repeated = np.broadcast_to(sinogram, (len(places), *sinogram.shape))
        return self.reconstruct(np.ascontiguousarray(repeated), self.angles_deg, places)


def grey_limits(image: NDArray[np.float32]) -> tuple[float, float]:
    """Return the grey values between which histograms are counted that shall be compared.

    Parameters
    ----------
    image : (y, x) float32 array
        Slice about any of the axes that are compared. Not modified.
    """
    seen = gaussian_filter(image, SMOOTHING)[_inside(image.shape)]
    low, high = np.percentile(seen, [TAIL, 100 - TAIL])
    return float(low), float(high)


def plainness(image: NDArray[np.float32], metric: ImageMetric, limits: tuple[float, float]) -> float:
    """Return how plain a slice is; the smaller, the plainer. NaN if a value is not finite.

    Parameters
    ----------
    image : (y, x) float32 array
        The slice. Not modified.
    metric : ImageMetric
        What is measured.
    limits : (float, float)
        Grey values that the histogram is counted between, the same for all slices that are compared.
    """
    smooth = gaussian_filter(image, SMOOTHING)
    seen = smooth[_inside(image.shape)]
    if not np.isfinite(seen).all():
        return float("nan")
    if metric is ImageMetric.NEGATIVITY:
        return float(-np.minimum(seen, 0).sum(dtype=np.float64))
    low, high = limits
    if not high > low:
        return 0.0
    place = np.clip((seen - np.float32(low)) * np.float32(BINS / (high - low)), 0, BINS - 1)
    share = np.bincount(place.astype(np.intp), minlength=BINS) / seen.size
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _inside(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return what of a slice is looked at: the circle around its middle without its rim."""
    down, across = ((np.arange(size) - (size - 1) / 2) ** 2 for size in shape)
    inside: NDArray[np.bool_] = down[:, None] + across <= (INNER * min(shape) / 2) ** 2
    return inside


def _significance(values: NDArray[np.float64]) -> float:
    """Return how many times deeper the minimum is than the curve is rough."""
    depth = float(np.median(values) - values.min())
    # Second differences of a smooth curve are small; the median leaves out the minimum itself.
    roughness = float(np.median(np.abs(np.diff(values, 2)))) / 1.65
    return depth / max(roughness, 1e-9 * float(np.abs(values).max()), np.finfo(np.float64).tiny)


def _most_structured(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows whose sinograms change most along the columns, noise smoothed away."""
    if len(data) <= MOST_ROWS:
        return data
    every = max(data.shape[1] // 32, 1)
    changes = gaussian_filter1d(data[:, ::every], 0.01 * data.shape[2] + 1, axis=2, order=1)
    order = np.argsort(-(changes.astype(np.float64) ** 2).sum(axis=(1, 2)), kind="stable")
    return data[np.sort(order[:MOST_ROWS])]


def _without_stripes(sinograms: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = sinograms.mean(axis=1, keepdims=True)
    smooth = median_filter(mean, (1, 1, min(STRIPE_WIDTH, mean.shape[2])), mode="nearest")
    result: NDArray[np.float32] = sinograms - (mean - smooth)
    return result


def _binned(sinograms: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    rows, angles, columns = sinograms.shape
    used = columns // factor * factor
    blocks = sinograms[:, :, :used].reshape(rows, angles, used // factor, factor)
    binned: NDArray[np.float32] = blocks.mean(axis=3)
    return binned
