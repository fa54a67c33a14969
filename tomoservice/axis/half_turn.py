"""Sinograms at equal steps over half a turn or a whole one, out of whatever angles a scan has."""

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
# A view that misses half a turn by less of a step closes it.
CLOSING = 0.05


@dataclass(frozen=True)
class HalfTurn:
    """How to make sinograms at equal angles over half a turn from recorded ones.

    Parameters
    ----------
    lower, upper
        (n,) indices of the recorded projections on either side of each wanted angle.
    weight
        (n,) float32 weight of the upper one.
    closing
        Index of a projection recorded half a turn after the first angle, if there is one.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]
    closing: int | None = None

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
        nearest = int(np.argmin(np.abs(turn - 180)))
        order = order[turn[order] < 180 + 1e-6]
        sorted_turn = turn[order]
        step = _step(sorted_turn)
        closing = nearest if abs(turn[nearest] - 180) < CLOSING * step else None
        # 180 degrees repeats 0.
        kept = sorted_turn < 180 - step / 2
        order, sorted_turn = order[kept], sorted_turn[kept]
        widest = float(np.max(np.diff(sorted_turn, append=180.0)))
        if len(order) < FEWEST_ANGLES or widest > max(3 * step, WIDEST_GAP_DEG):
            msg = (
                f"the Fourier search wants views all around half a turn, but {widest:.1f} degrees between "
                f"{angles.min():g} and {angles.max():g} are without any; "
                "use entropy, or give the axis"
            )
            raise GeometryError(msg)
        count = min(round(180 / step), len(order))
        wanted = np.arange(count) * (180 / count)
        upper = np.clip(np.searchsorted(sorted_turn, wanted), 1, len(order) - 1)
        distance = sorted_turn[upper] - sorted_turn[upper - 1]
        weight = (wanted - sorted_turn[upper - 1]) / np.maximum(distance, 1e-9)
        return cls(order[upper - 1], order[upper], _kept_whole(np.clip(weight, 0, 1)), closing)

    def apply(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sinogram (angle, column) at the equal steps."""
        weight = self.weight[:, None]
        return sinogram[self.lower] * (1 - weight) + sinogram[self.upper] * weight


@dataclass(frozen=True)
class WholeTurn:
    """The two halves of a whole turn, at angles exactly half a turn apart.

    Parameters
    ----------
    first, second
        How to make the sinogram of either half from the recorded one.
    """

    first: HalfTurn
    second: HalfTurn

    @classmethod
    def of(cls, angles_deg: ArrayLike) -> WholeTurn:
        """Choose the pairs of views.

        Parameters
        ----------
        angles_deg : (angle,) array
            Recorded angles in degrees, in any order; 360 may repeat 0.

        Raises
        ------
        GeometryError
            If the angles leave out too much of the turn.
        """
        angles = np.asarray(angles_deg, np.float64)
        if angles.ndim != 1 or len(angles) < 2 * FEWEST_ANGLES or not np.isfinite(angles).all():
            msg = f"the overlap search wants at least {2 * FEWEST_ANGLES} finite angles, got {angles.size}"
            raise GeometryError(msg)
        turn = np.mod(angles - angles.min() + 1e-9, 360)
        order = np.argsort(turn, kind="stable")
        turn = turn[order]
        step = _step(turn, whole=360.0)
        widest = float(np.max(np.diff(turn, append=turn[0] + 360)))
        if widest > max(3 * step, WIDEST_GAP_DEG):
            msg = (
                f"the overlap search wants views all around a whole turn, but {widest:.1f} degrees between "
                f"{angles.min():g} and {angles.max():g} are without any"
            )
            raise GeometryError(msg)
        count = max(min(round(180 / step), len(angles) // 2), 1)
        wanted = turn[0] + np.arange(count) * (180 / count)
        return cls(*(_interpolation(turn, order, wanted + half) for half in (0, 180)))


def _interpolation(
    turn: NDArray[np.float64], order: NDArray[np.intp], wanted: NDArray[np.float64]
) -> HalfTurn:
    """Return how to make views at the wanted angles, between neighbours on the circle."""
    around = np.concatenate([turn, [turn[0] + 360]])
    upper = np.clip(np.searchsorted(around, wanted, "right"), 1, len(turn))
    distance = around[upper] - around[upper - 1]
    weight = np.clip((wanted - around[upper - 1]) / np.maximum(distance, 1e-9), 0, 1)
    return HalfTurn(order[upper - 1], order[upper % len(turn)], _kept_whole(weight))


def _kept_whole(weight: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weights, those near 0 and 1 rounded.

    What is recorded at a wanted angle is taken as it is, not smoothed with its neighbour.
    """
    rounded = np.round(weight)
    return np.where(np.abs(weight - rounded) < 0.01, rounded, weight).astype(np.float32)


def _step(ascending: NDArray[np.float64], whole: float = 180.0) -> float:
    """Return the typical step between distinct views, in degrees."""
    tolerance = SAME_VIEW * typical_gap(np.diff(ascending, append=whole))
    group = group_views(ascending, tolerance)
    centre = np.bincount(group, ascending) / np.bincount(group)
    return float(np.median(np.diff(centre))) if len(centre) > 1 else whole


def _start(angles: NDArray[np.float64]) -> float:
    """Return the angle after the widest gap of the turn, or the first angle if there is no such gap."""
    turn = np.unique(np.mod(angles, 360))
    gaps = np.diff(turn, append=turn[0] + 360)
    widest = int(np.argmax(gaps))
    if gaps[widest] > 3 * typical_gap(gaps):
        return float(turn[(widest + 1) % len(turn)])
    return float(angles.min())
