"""The rotation axis of a scan that goes on: looked for as soon as the angles suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult, auto, opposite_pair
from tomoservice.axis.half_turn import HalfTurn, WholeTurn
from tomoservice.errors import EngineError, GeometryError

logger = logging.getLogger(__name__)

ROWS = 6
"""Detector rows that are looked at."""
SURE = 0.5
"""Confidence from which an axis is no longer provisional."""
BEYOND_DOUBT = 0.9
"""Confidence from which an axis is not looked for again because of a few projections more."""
SAME_AXIS = 0.03
"""Columns by which an axis has to differ from what is used to be worth the work."""
FEWEST, WIDEST_GAP_DEG = 16, 40.0
"""Views, and degrees without any, between which it is worth to look."""
GROWTH = 1.5
"""How many times as many projections an axis that is not sure is looked for again with."""


def covers_half_turn(angles_deg: NDArray[np.float64]) -> bool:
    """Return whether there are views around half a turn, by which an axis can be found."""
    if angles_deg.size < FEWEST:
        return False
    half = np.sort(np.mod(angles_deg, 180))
    if np.diff(half, append=half[0] + 180).max() > WIDEST_GAP_DEG:
        return False
    return opposite_pair(angles_deg) is not None or _succeeds(HalfTurn.of, angles_deg)


def covers_whole_turn(angles_deg: NDArray[np.float64]) -> bool:
    """Return whether there are views all around a whole turn."""
    return _succeeds(WholeTurn.of, angles_deg)


def _succeeds(made_of: Callable[[NDArray[np.float64]], object], angles_deg: NDArray[np.float64]) -> bool:
    try:
        made_of(angles_deg)
    except GeometryError:
        return False
    return True


@dataclass(frozen=True)
class AxisMatter:
    """What an axis is looked for in.

    Parameters
    ----------
    lines
        (row, view, column) float32 line integrals.
    angles_deg
        (view,) in degrees.
    """

    lines: NDArray[np.float32]
    angles_deg: NDArray[np.float64]

    def search(self) -> AxisResult | None:
        """Return what is found; None if the angles or the values make no search possible."""
        try:
            return auto(self.lines, self.angles_deg)
        except (GeometryError, EngineError) as error:
            logger.info("no axis is found in %d views: %s", len(self.angles_deg), error)
            return None


class AxisSeeker:
    """Keeps a few rows of all projections, and says when it is worth to look for the axis in them.

    Parameters
    ----------
    rows : int
        Detector rows.
    """

    def __init__(self, rows: int) -> None:
        count = min(rows, ROWS)
        self.rows = np.unique(
            np.linspace(0.15 * (rows - 1), 0.85 * (rows - 1), count).round().astype(np.intp)
        )
        """Detector rows that are looked at."""
        self._lines: dict[int, NDArray[np.float32]] = {}
        self._angles: dict[int, float] = {}
        self._asked = 0
        self._turns = 0
        self.best: AxisResult | None = None
        """What was found with the most confidence."""

    def keep(
        self, frames: NDArray[np.intp], lines: NDArray[np.float32], angles_deg: NDArray[np.float64]
    ) -> None:
        """Keep the rows of projections; `lines` (view, row, column) has all rows."""
        for number, frame in enumerate(frames):
            self._lines[int(frame)] = lines[number, self.rows]
            self._angles[int(frame)] = float(angles_deg[number])

    def correct(self, correction: NDArray[np.float32]) -> None:
        """Add to every projection what another open beam makes of it, (row, column); look again."""
        for frame, lines in self._lines.items():
            self._lines[frame] = lines + correction[self.rows]
        self._asked = 0

    def forget(self) -> None:
        """Forget what was kept: it was not right."""
        self._lines.clear()
        self._angles.clear()
        self._asked = self._turns = 0

    def matter(self, *, last: bool = False) -> AxisMatter | None:
        """Return what to look in now, or None if it is not worth it yet.

        Parameters
        ----------
        last : bool
            Whether no more projections come: worth it unless nothing has been added since, or little to an
            axis that is beyond doubt.
        """
        count = len(self._lines)
        angles = np.array(list(self._angles.values()))
        if count == self._asked or not covers_half_turn(angles):
            return None
        turns = 2 if covers_whole_turn(angles) else 1
        sure = self.best is not None and self.best.confidence >= SURE
        more = count >= GROWTH * self._asked
        settled = self.best is not None and self.best.confidence >= BEYOND_DOUBT and not more
        if not (turns > self._turns or (more and not sure) or (last and not settled)):
            return None
        self._asked, self._turns = count, turns
        stack = np.stack([self._lines[frame] for frame in self._lines], axis=1)
        return AxisMatter(np.ascontiguousarray(stack), angles)

    def learn(self, result: AxisResult | None) -> None:
        """Take note of what was found."""
        if result is None:
            return
        best = self.best
        if best is not None and abs(best.rotation_axis - result.rotation_axis) < SAME_AXIS:
            # Nobody sees that; showing everything about another axis costs as much as the scan did.
            self.best = replace(best, confidence=max(best.confidence, result.confidence))
        elif best is None or result.confidence >= best.confidence - 0.05:
            self.best = result
