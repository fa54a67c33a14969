"""Rings in slices: removal in polar coordinates, and a number for how strong they are.

A ring is the same at neighbouring angles around the rotation axis, and differs from its surroundings along
the radius: Sijbers and Postnov 2004 (DOI 10.1088/0031-9155/49/14/N06). Scope: rows, one slice at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, map_coordinates

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import for_each
from tomoservice.windows import running_medians

Slice = NDArray[np.float32]

# Sectors of a turn in which a ring has one strength: 7.5 degrees.
SECTORS = 48
# Sectors that are repeated beyond a full turn, more than a spline reaches.
CLOSING = 8
# Samples of a turn, a multiple of the sectors; more than are of use within a radius of 230 pixels.
SAMPLES = 30 * SECTORS
# Per pixel of the radius, so that a ring between two pixels is not blurred.
RADIAL_SAMPLES = 2
# Of a normal distribution's median absolute deviation, and of the median of many values to their mean.
NORMAL, MEDIAN_NOISE = 1.4826, 1.2533
# Pixels beside a ring that make its background in the score; wider rings count by their edges only.
BACKGROUND = 9
# Pixels around the axis where a sector holds too few pixels to tell a ring from the sample.
CORE = 10


@dataclass(frozen=True, kw_only=True)
class PolarRings:
    """How rings are removed.

    Parameters
    ----------
    width : int
        Pixels along the radius of the widest ring that is removed; at least 1.
    arc_deg : float
        Degrees of a turn over which a ring keeps its strength, 15 to 360. Shorter arcs follow rings that
        change along their way, longer ones tell rings from the sample better. A scan of 180 degrees makes
        half rings.
    snr : float
        How far a ring must stand out of the variation along its arc, in standard deviations of the median;
        0 or more. Greater leaves more of the sample and the weaker rings.

    Raises
    ------
    EngineError
        If a parameter is out of its range.
    """

    width: int = 5
    arc_deg: float = 60.0
    snr: float = 3.0

    def __post_init__(self) -> None:
        for name, low, high in (("width", 1, 1000), ("arc_deg", 15, 360), ("snr", 0, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f"{name} of ring removal must be between {low} and {high}, got {value}"
                raise EngineError(msg)

    def rings(self, image: Slice) -> Slice:
        """Return the rings of a slice, zero where there are none; see `remove_rings`."""
        polar = _polar(image)
        detail = polar - running_medians(polar, 2 * RADIAL_SAMPLES * self.width + 1)
        # (radius, sector): what a sector's pixels have in common.
        sectors = np.median(detail.reshape(len(detail), SECTORS, -1), axis=2)
        strength, spread = self._along_arcs(sectors)
        # Stronger than its uncertainty allows; the rest fades to nothing, so that no step is made.
        limit = (self.snr * spread) ** 2
        share = np.divide(limit, strength**2, out=np.ones_like(limit), where=strength != 0)
        return _cartesian(strength * np.maximum(1 - share, 0), image.shape)

    def _along_arcs(self, sectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the median over the arc around each sector, and its standard deviation."""
        reach = min(round(self.arc_deg / 360 * SECTORS) // 2, (SECTORS - 1) // 2)
        around = np.concatenate([sectors[:, SECTORS - reach :], sectors, sectors[:, :reach]], axis=1)
        arcs = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1, axis=1)
        strength = np.median(arcs, axis=2).astype(np.float64)
        deviation = np.median(np.abs(arcs - strength[..., None]), axis=2)
        # Near the axis neighbouring sectors share their pixels.
        pixels = np.arange(len(sectors)) / RADIAL_SAMPLES * (2 * np.pi / SECTORS)
        independent = np.maximum(np.minimum(pixels, 1) * (2 * reach + 1), 1e-3)[:, None]
        return strength, NORMAL * MEDIAN_NOISE * deviation / np.sqrt(independent)


def remove_rings(
    slices: NDArray[np.generic],
    method: PolarRings,
    *,
    out: Slice | None = None,
    threads: int | None = None,
) -> Slice:
    """Remove rings around the middle of slices.

    Only the rings are transformed back from polar coordinates, and subtracted, so the sample is not blurred.
    What is left of the sample in them: parts that follow a circle around the axis over more than half an arc
    and are narrower than `width`, such as the wall of a capillary or the rings of a stem on the axis.

    Parameters
    ----------
    slices : (z, y, x) real array
        Slices with the rotation axis in their middle, ``((N - 1) / 2, (N - 1) / 2)``. Not modified, unless
        given as `out` as well.
    method : PolarRings
        How.
    out : (z, y, x) float32 array, optional
        Where to put the result.
    threads : int, optional
        Slices worked on at once; by default as many as the process may keep busy.

    Returns
    -------
    (z, y, x) float32 array
        Beyond the circle that fits into a slice nothing is changed.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    EngineError
        If a value is not finite.
    """
    stack = np.asarray(slices)
    if stack.ndim != 3 or 0 in stack.shape:
        msg = f"rings are removed from slices (z, y, x), got an array of shape {stack.shape}"
        raise GeometryError(msg)
    result = np.empty(stack.shape, np.float32) if out is None else out
    if result.shape != stack.shape or result.dtype != np.float32:
        msg = f"out must be float32 of shape {stack.shape}, got {result.dtype} of shape {result.shape}"
        raise GeometryError(msg)

    def work(row: int) -> None:
        image = np.ascontiguousarray(stack[row], np.float32)
        if not np.isfinite(image).all():
            msg = f"slice {row} of the stack holds values that are not finite; rings cannot be told from them"
            raise EngineError(msg)
        np.subtract(image, method.rings(image), out=result[row])

    for_each(work, range(len(stack)), threads)
    return result


def ring_score(image: NDArray[np.floating]) -> float:
    """Measure what is the same all along a quarter of a circle around the axis, in units of the noise.

    Along the radius, what differs from the median of the 9 pixels around is noise, sample or ring. Each
    quarter of a turn is cut into 8 sectors; details of the sample are in few of them, so the median over
    sectors ignores these, and the mean product of the medians over even and over odd sectors is the variance
    of the rings, without bias by noise.

    Parameters
    ----------
    image : (y, x) float array
        Slice with the rotation axis in its middle. Not modified.

    Returns
    -------
    float
        Root mean square of the rings over all radii, relative to the noise of one pixel: about 0 without
        rings. Grows with their strength, in the end a little less than in proportion, because strong rings
        count as noise too. Parts of the sample that are circles around the axis raise it: compare slices of
        one sample. 0 for a constant slice or one too small to tell (about 30 pixels), NaN if a value is not
        finite.

    Raises
    ------
    GeometryError
        If it is not a slice.
    """
    values = np.asarray(image, np.float32)
    if values.ndim != 2 or 0 in values.shape:
        msg = f"a ring score needs a slice (y, x), got an array of shape {values.shape}"
        raise GeometryError(msg)
    if not np.isfinite(values).all():
        return float("nan")
    polar = _polar(values)[RADIAL_SAMPLES * CORE :]
    noise = _noise(values)
    if len(polar) == 0 or noise == 0:
        return 0.0
    detail = polar - running_medians(polar, RADIAL_SAMPLES * BACKGROUND)
    sectors = detail.reshape(len(detail), 4, 4, 2, -1).mean(axis=-1, dtype=np.float64)
    rings = np.median(sectors, axis=2)
    return math.sqrt(max(float(np.mean(rings[..., 0] * rings[..., 1])), 0.0)) / noise


def _polar(image: Slice) -> Slice:
    """Return a slice in polar coordinates (radius, angle), up to the circle that fits into it."""
    middle = [(length - 1) / 2 for length in image.shape]
    radius = np.arange(int(RADIAL_SAMPLES * min(middle)) + 1) / RADIAL_SAMPLES
    angle = (np.arange(SAMPLES) + 0.5) * (2 * np.pi / SAMPLES)
    places = np.empty((2, radius.size, angle.size), np.float32)
    np.multiply.outer(radius, np.sin(angle), out=places[0], casting="same_kind")
    np.multiply.outer(radius, np.cos(angle), out=places[1], casting="same_kind")
    places += np.array(middle, np.float32)[:, None, None]
    # Linear interpolation would blur what is a pixel wide, and a third of it would stay.
    return map_coordinates(image, places, order=3, mode="nearest")


def _cartesian(rings: NDArray[np.float64], shape: tuple[int, ...]) -> Slice:
    """Return what is known at each (radius, sector) as a slice; nothing beyond the last radius."""
    y, x = (np.arange(length, dtype=np.float32) - (length - 1) / 2 for length in shape)
    places = np.empty((2, *shape), np.float32)
    np.hypot(y[:, None], x, out=places[0])
    places[0] *= RADIAL_SAMPLES
    np.arctan2(y[:, None], x, out=places[1])
    # The middle of sector 0 is at half a sector; a few sectors more on either side close the turn.
    places[1] *= SECTORS / (2 * np.pi)
    places[1] %= SECTORS
    places[1] += CLOSING - 0.5
    closed = np.concatenate([rings[:, -CLOSING:], rings, rings[:, :CLOSING]], axis=1).astype(np.float32)
    return map_coordinates(closed, places, order=3, mode="constant")


def _noise(image: Slice) -> float:
    """Return the standard deviation of a slice's noise in the circle that fits into it.

    Immerkaer 1996 (DOI 10.1006/cviu.1996.0060), with a median, so that edges do not count.
    """
    mask = np.array([1, -2, 1], np.float32)
    rough = convolve(image, np.outer(mask, mask), mode="nearest")
    y, x = (np.arange(length) - (length - 1) / 2 for length in image.shape)
    inside = np.hypot(y[:, None], x) < 0.9 * min(image.shape) / 2
    if not inside.any():
        return 0.0
    spread = NORMAL * float(np.median(np.abs(rough[inside]))) / 6
    return max(spread, 1e-6 * float(np.abs(image).max()))
