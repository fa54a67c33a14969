"""Sinograms at equal steps over half a turn, out of whatever angles a scan has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import GeometryError
from tomoservice.geometry import group_views, typical_gap

FEWEST_ANGLES = 8
# Degrees without a view that may be bridged, where steps are not coarse anyway.
WIDEST_GAP_DEG = 5.0
# Views within this fraction of the typical step are repetitions of one.
SAME_VIEW = 0.2


@dataclass(frozen=True)
class HalfTurn:
    """How to make sinograms at equal angles over half a turn from recorded ones.

    Parameters
    ----------
    lower, upper
        (n,) indices of the recorded projections on either side of each wanted angle.
    weight
        (n,) float32 weight of the upper one.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, angles_deg: ArrayLike) -> HalfTurn:
        """Choose half a turn.

        Parameters
        ----------
        angles_deg : (angle,) array
            Recorded angles in degrees, in any order; a whole turn or several are cut to the first half.

        Returns
        -------
        HalfTurn
            The last angle is one step short of 180 degrees from the first.

        Raises
        ------
        GeometryError
            If the angles leave out too much of the half turn.
        """
        angles = np.asarray(angles_deg, np.float64)
        if angles.ndim != 1 or len(angles) < FEWEST_ANGLES or not np.isfinite(angles).all():
            msg = f"the Fourier search wants at least {FEWEST_ANGLES} finite angles, got {angles.size}"
            raise GeometryError(msg)
        turn = np.mod(angles - _start(angles) + 1e-9, 360)
        order = np.argsort(turn, kind="stable")
        order = order[turn[order] < 180 + 1e-6]
        sorted_turn = turn[order]
        step = _step(sorted_turn)
        # 180 degrees repeats 0.
        kept = sorted_turn < 180 - step / 2
        order, sorted_turn = order[kept], sorted_turn[kept]
        widest = float(np.max(np.diff(sorted_turn, append=180.0)))
        if len(order) < FEWEST_ANGLES or widest > max(3 * step, WIDEST_GAP_DEG):
            msg = (
                f"the Fourier search wants views all around half a turn, but {widest:.1f} degrees between "
                f"{angles.min():g} and {angles.max():g} are without any; "
                "use phase_correlation, or give the axis"
            )
            raise GeometryError(msg)
        count = min(round(180 / step), len(order))
        wanted = np.arange(count) * (180 / count)
        upper = np.clip(np.searchsorted(sorted_turn, wanted), 1, len(order) - 1)
        distance = sorted_turn[upper] - sorted_turn[upper - 1]
        weight = (wanted - sorted_turn[upper - 1]) / np.maximum(distance, 1e-9)
        weight = np.clip(weight, 0, 1)
        # What is recorded at a wanted angle is taken as it is, not smoothed with its neighbour.
        weight = np.where(np.abs(weight - np.round(weight)) < 0.01, np.round(weight), weight)
        return cls(order[upper - 1], order[upper], weight.astype(np.float32))

    def apply(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sinogram (angle, column) at the equal steps."""
        weight = self.weight[:, None]
        return sinogram[self.lower] * (1 - weight) + sinogram[self.upper] * weight


def _step(ascending: NDArray[np.float64]) -> float:
    """Return the typical step between distinct views, in degrees."""
    tolerance = SAME_VIEW * typical_gap(np.diff(ascending, append=180.0))
    group = group_views(ascending, tolerance)
    centre = np.bincount(group, ascending) / np.bincount(group)
    return float(np.median(np.diff(centre))) if len(centre) > 1 else 180.0


def _start(angles: NDArray[np.float64]) -> float:
    """Return the angle after the widest gap of the turn, or the first angle if there is no such gap."""
    turn = np.unique(np.mod(angles, 360))
    gaps = np.diff(turn, append=turn[0] + 360)
    widest = int(np.argmax(gaps))
    if gaps[widest] > 3 * typical_gap(gaps):
        return float(turn[(widest + 1) % len(turn)])
    return float(angles.min())
