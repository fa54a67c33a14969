"""The pictures of a live reconstruction: what is shown now, and what is to be shown once it has caught up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog.live_records import LivePicture
from tomoservice.prep.phase import Retrieval
from tomoservice.recon.live import (
    BinnedVolume,
    CrossSection,
    FilteredViews,
    LiveGeometry,
    LivePart,
    Slice,
    SlicePosition,
    binning_for,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be shown.

    Parameters
    ----------
    geometry
        Detector and axis.
    position
        Which slices.
    generation
        Counts up when all projections have to be corrected anew.
    phase
        How the phase of projections is retrieved; None if it is not.
    """

    geometry: LiveGeometry
    position: SlicePosition
    generation: int = 0
    phase: Retrieval | None = None

    def moved(self, position: SlicePosition) -> Target:
        """Return the same with other slices, as near as the volume has them."""
        return replace(self, position=position.within(self.geometry))

    def about(self, geometry: LiveGeometry) -> Target:
        """Return the same about another axis; slices keep their place in the volume, or its middle."""
        if geometry.size != self.geometry.size:
            return replace(self, geometry=geometry, position=SlicePosition.middle(geometry))
        return replace(self, geometry=geometry, position=self.position.within(geometry))

    def anew(self) -> Target:
        """Return the same, made anew from all projections."""
        return replace(self, generation=self.generation + 1)

    def make(self, picture: LivePicture) -> LivePart:
        """Return an empty part."""
        match picture:
            case LivePicture.XY:
                return Slice(self.geometry, self.position.z)
            case LivePicture.XZ:
                return CrossSection(self.geometry, self.position.y, "y")
            case LivePicture.YZ:
                return CrossSection(self.geometry, self.position.x, "x")
            case LivePicture.VOLUME:
                return BinnedVolume(self.geometry, binning_for(self.geometry))

    def is_anew_after(self, other: Target) -> bool:
        """Tell whether nothing that was made for another target is of use."""
        how = (self.geometry, self.generation, self.phase)
        return how != (other.geometry, other.generation, other.phase)

    def differing(self, other: Target) -> list[LivePicture]:
        """Return which pictures are others."""
        if self.is_anew_after(other):
            return list(LivePicture)
        mine, theirs = self.position, other.position
        moved = {
            LivePicture.XY: mine.z != theirs.z,
            LivePicture.XZ: mine.y != theirs.y,
            LivePicture.YZ: mine.x != theirs.x,
        }
        return [picture for picture, is_other in moved.items() if is_other]


class _Next:
    """Parts that are being made from the projections that are shown already."""

    def __init__(self, target: Target, pictures: list[LivePicture]) -> None:
        self.target = target
        self.parts = {picture: target.make(picture) for picture in pictures}
        self.done: set[int] = set()

    @property
    def makes_all(self) -> bool:
        """Whether every picture is made."""
        return len(self.parts) == len(LivePicture)

    @property
    def rows(self) -> slice:
        """Detector rows that are needed."""
        # A phase is retrieved of whole frames.
        if list(self.parts) == [LivePicture.XY] and self.target.phase is None:
            return self.parts[LivePicture.XY].rows
        return slice(0, self.target.geometry.rows)


class Pictures:
    """What is shown, and what will be.

    Another axis or another slice is made beside what is shown, from the projections that are in it, and takes
    its place when it has caught up.

    Parameters
    ----------
    target : Target
        What to show.
    threads : int
        Threads to use.
    """

    def __init__(self, target: Target, threads: int) -> None:
        self.shown = target
        """What is shown now."""
        self._threads = threads
        self._parts = {picture: target.make(picture) for picture in LivePicture}
        self._next: _Next | None = None
        self._after: Target | None = None
        """What is to be shown after that: slices that were moved while all is made anew."""

    @property
    def views(self) -> int:
        """How many projections are in what is shown."""
        return self._parts[LivePicture.XY].views

    @property
    def target(self) -> Target:
        """What is to be shown."""
        if self._after is not None:
            return self._after
        return self.shown if self._next is None else self._next.target

    def aim(self, target: Target) -> None:
        """Say what is to be shown."""
        if target == self.target:
            return
        self._after = None
        if self._next is not None and self._next.makes_all and not target.is_anew_after(self._next.target):
            # Begun again with each move, it would never be finished.
            self._after = target
            return
        pictures = target.differing(self.shown)
        self._next = _Next(target, pictures) if pictures else None
        if not self.views:
            self._take_over()

    def add(self, lines: NDArray[np.float32], angles_deg: NDArray[np.float64]) -> None:
        """Add projections, of all rows, to what is shown."""
        views = FilteredViews(self.shown.geometry, lines, angles_deg, threads=self._threads)
        for part in self._parts.values():
            part.add(views)

    def missing(self, shown: NDArray[np.intp], most: int) -> tuple[NDArray[np.intp], slice] | None:
        """Return which projections, and which of their rows, are to be added to what will be shown.

        None if there is nothing to be made; then what has caught up is shown.
        """
        if self._next is None:
            return None
        left = np.setdiff1d(shown, np.fromiter(self._next.done, np.intp))[:most]
        if not left.size:
            self._take_over()
            return None
        return left, self._next.rows

    def catch_up(
        self, frames: NDArray[np.intp], lines: NDArray[np.float32], angles_deg: NDArray[np.float64]
    ) -> None:
        """Add projections, of the rows that were asked for, to what will be shown."""
        following = self._next
        if following is None:
            return
        first = following.rows.start
        views = FilteredViews(
            following.target.geometry, lines, angles_deg, first_row=first, threads=self._threads
        )
        for part in following.parts.values():
            part.add(views)
        following.done.update(frames.tolist())

    def correct(self, correction: NDArray[np.float32]) -> None:
        """Add to every projection what another open beam makes of it, (row, column)."""
        parts = [*self._parts.values(), *(self._next.parts.values() if self._next else ())]
        for part in parts:
            part.correct(correction, threads=self._threads)

    def images(self, *, volume: bool) -> dict[LivePicture, NDArray[np.float32]]:
        """Return what is shown, with or without the volume."""
        wanted = [picture for picture in LivePicture if volume or picture is not LivePicture.VOLUME]
        return {picture: self._parts[picture].image() for picture in wanted}

    @property
    def is_settled(self) -> bool:
        """Whether what is to be shown is shown."""
        return self._next is None

    def _take_over(self) -> None:
        if self._next is not None:
            self._parts |= self._next.parts
            self.shown, self._next = self._next.target, None
        if self._after is not None:
            after, self._after = self._after, None
            self.aim(after)
