"""Which projections of a scan that goes on have come, which are no good, and which come next."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from tomoservice.sources.checks import BEAMLESS

NEIGHBOURS = 31
"""Good frames to compare with, the latest."""
DARKEST = 0.01
"""Part of the open beam that the first frame must have."""
EVERY = 4
"""Of rows and columns every so many-th is looked at."""


class BeamWatch:
    """Tells frames without beam by their neighbours."""

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=NEIGHBOURS)

    def lost(
        self, frames: NDArray[np.generic], dark: NDArray[np.float32], light: float | None
    ) -> NDArray[np.bool_]:
        """Return which frames are without beam.

        Parameters
        ----------
        frames : (frame, row, column) array
            Projections in the order of acquisition, in counts.
        dark : (row, column) float32 array
            In counts.
        light : float, optional
            Mean of the open beam above the dark; needed before the first good frame only.

        Returns
        -------
        (frame,) bool array
            True for those to be left out; those that hold no finite number, too.
        """
        some = (slice(None, None, EVERY), slice(None, None, EVERY))
        light_seen = frames[:, *some].astype(np.float64) - dark[some]
        levels: NDArray[np.float64] = light_seen.mean(axis=(1, 2))
        lost = np.zeros(len(frames), np.bool_)
        # Among the first frames most have beam; later ones are compared with what came before.
        first = float(np.median(levels)) if np.isfinite(levels).all() else 0.0
        for number, level in enumerate(levels):
            usual = float(np.median(self._levels)) if self._levels else first
            least = max(BEAMLESS * usual, DARKEST * (light or 0.0))
            lost[number] = not np.isfinite(level) or level < least
            if not lost[number]:
                self._levels.append(float(level))
        return lost


class Ledger:
    """Keeps the books of the projections: seen, good, invalid, shown, skipped."""

    def __init__(self) -> None:
        self.angles_deg = np.empty(0)
        """(frame,) angles of all that have come; NaN of those without one."""
        self._judged = np.empty(0, np.bool_)
        self._invalid = np.empty(0, np.bool_)
        self._shown = np.empty(0, np.bool_)
        self._skipped = np.empty(0, np.bool_)

    def see(self, angles_deg: NDArray[np.float64]) -> int:
        """Take note of the angles of all projections that have come, and return how many are new.

        One that has been judged already keeps the angle by which it was used. Of others the angle may come,
        or be corrected, after the image.
        """
        before = len(self.angles_deg)
        open_ = np.flatnonzero(~self._judged[: len(angles_deg)])
        self.angles_deg[open_] = angles_deg[open_]
        self._invalid[open_] = ~np.isfinite(angles_deg[open_])
        new = max(len(angles_deg) - before, 0)
        if new:
            self.angles_deg = np.concatenate([self.angles_deg, angles_deg[before:]])
            nothing = np.zeros(new, np.bool_)
            self._judged = np.concatenate([self._judged, nothing])
            self._shown = np.concatenate([self._shown, nothing])
            self._skipped = np.concatenate([self._skipped, nothing])
            # One without an angle cannot be used; it needs no look.
            self._invalid = np.concatenate([self._invalid, ~np.isfinite(angles_deg[before:])])
        return new

    def judge(self, frames: NDArray[np.intp], lost: NDArray[np.bool_]) -> None:
        """Take note of which of some projections are without beam."""
        self._judged[frames] = True
        self._invalid[frames[lost]] = True

    def show(self, frames: NDArray[np.intp]) -> None:
        """Take note that projections are in what is shown."""
        self._shown[frames] = True
        self._skipped[frames] = False

    def waiting(self) -> NDArray[np.intp]:
        """Return the projections that are to be shown next, ascending."""
        return np.flatnonzero(~self._shown & ~self._invalid & ~self._skipped)

    def thin_out(self, kept: int) -> int:
        """Skip waiting projections, evenly, until `kept` of them are left; return how many were skipped."""
        waiting = self.waiting()
        if len(waiting) <= kept:
            return 0
        chosen = waiting[np.linspace(0, len(waiting) - 1, kept).round().astype(np.intp)]
        skipped = np.setdiff1d(waiting, chosen)
        self._skipped[skipped] = True
        return len(skipped)

    def take_back_skipped(self) -> None:
        """Have what was skipped shown as well, now that there is time."""
        self._skipped[:] = False

    @property
    def shown(self) -> NDArray[np.intp]:
        """Projections that are shown, ascending."""
        return np.flatnonzero(self._shown)

    @property
    def invalid(self) -> NDArray[np.intp]:
        """Projections that are left out for good, ascending."""
        return np.flatnonzero(self._invalid)

    @property
    def seen(self) -> int:
        """How many projections have come."""
        return len(self.angles_deg)

    @property
    def skipped(self) -> int:
        """How many are left out of the live slices to keep up."""
        return int(self._skipped.sum())

    @property
    def good_angles_deg(self) -> NDArray[np.float64]:
        """Angles of the projections that are shown."""
        return self.angles_deg[self._shown]
