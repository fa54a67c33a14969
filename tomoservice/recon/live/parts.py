"""What a live reconstruction consists of: sums of filtered views, from each of which an image can be made.

A view stands for pi divided by the number of views. Once all views of a scan at equal steps are there (in
whatever order: one after the other, interlaced, by the golden angle, over a whole turn), that is the measure
by which `tomoservice.recon.weights` weighs them too, and grey values are those of the final volume. Before,
it keeps the level of grey as it will be: what is missing are directions, not brightness. Of a scan whose
steps differ, views count the same although they should not; the final volume weighs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.recon.live.geometry import LiveGeometry
from tomoservice.recon.live.views import FilteredLines, FilteredViews
from tomoservice.threads import for_each, ranges

LARGEST_VOLUME = 128
"""Voxels along each edge of a volume, at most."""
PIECES_PER_THREAD = 4
CORRECTED_AT_ONCE = 8
"""Views that a correction is added for at once."""


def binning_for(geometry: LiveGeometry, largest: int = LARGEST_VOLUME) -> int:
    """Return how many pixels make the edge of a voxel, for a volume of at most `largest` along each edge."""
    return max(-(-max(geometry.shape) // largest), 1)


class LivePart(ABC):
    """A sum of filtered views.

    Parameters
    ----------
    geometry : LiveGeometry
        Detector and axis.
    shape : tuple of int
        Of the sum.
    """

    def __init__(self, geometry: LiveGeometry, shape: tuple[int, ...]) -> None:
        self.geometry = geometry
        self._sum = np.zeros(shape, np.float32)
        self._angles: list[NDArray[np.float64]] = []

    @property
    def views(self) -> int:
        """How many views have been added."""
        return sum(map(len, self._angles))

    @property
    @abstractmethod
    def rows(self) -> slice:
        """Which detector rows it is made of."""

    def add(self, views: FilteredViews) -> None:
        """Add views.

        Parameters
        ----------
        views : FilteredViews
            With the part's own geometry, and the rows that it needs.

        Raises
        ------
        GeometryError
            If the geometry is another one, or rows are missing.
        """
        if views.geometry != self.geometry:
            msg = f"views of {views.geometry} cannot be added to what is made of {self.geometry}"
            raise GeometryError(msg)
        self._project(self._filtered(views), views.angles, views.threads)
        self._angles.append(np.rad2deg(views.angles))

    def correct(self, lines: NDArray[np.float32], *, threads: int = 1) -> None:
        """Add the same image to every view that has been added: what another open beam makes of them, say.

        Parameters
        ----------
        lines : (row, column) float32 array
            Line integrals to be added to each view; all rows.
        threads : int
            Threads to use.
        """
        if not self._angles:
            return
        angles = np.deg2rad(np.concatenate(self._angles))
        one = self._filtered(FilteredViews(self.geometry, lines[None], np.zeros(1), threads=threads))
        for start in range(0, len(angles), CORRECTED_AT_ONCE):
            some = angles[start : start + CORRECTED_AT_ONCE]
            values = np.repeat(one.values, len(some), axis=0)
            self._project(FilteredLines(values, one.half, one.oversampling), some, threads)

    def image(self) -> NDArray[np.float32]:
        """Return the image of what has been added, linear attenuation per pixel; zeros if that is nothing."""
        return self._arranged(self._sum * np.float32(np.pi / max(self.views, 1)))

    @abstractmethod
    def _filtered(self, views: FilteredViews) -> FilteredLines:
        """Return what the part needs of some views."""

    @abstractmethod
    def _project(self, found: FilteredLines, angles: NDArray[np.float64], threads: int) -> None:
        """Add filtered views at some angles, in radians, to the sum."""

    def _arranged(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return image


class Slice(LivePart):
    """A slice (y, x), of one detector row.

    Parameters
    ----------
    geometry : LiveGeometry
        Detector and axis.
    number : int
        Detector row.
    """

    def __init__(self, geometry: LiveGeometry, number: int) -> None:
        super().__init__(geometry, (geometry.size, geometry.size))
        self.number = number

    @property
    def rows(self) -> slice:
        """The one row."""
        return slice(self.number, self.number + 1)

    def _filtered(self, views: FilteredViews) -> FilteredLines:
        return views.row(self.number)

    def _project(self, found: FilteredLines, angles: NDArray[np.float64], threads: int) -> None:
        from tomoservice.recon.live._kernels import add_slice

        lines, steps = found.values[:, 0], _steps(found, angles)
        centre = np.float32(found.half * found.oversampling)
        _in_pieces(
            lambda part: add_slice(lines, steps, centre, *part, self._sum), self.geometry.size, threads
        )


class CrossSection(LivePart):
    """A slice along the axis: (z, x) at some y, or (z, y) at some x.

    Parameters
    ----------
    geometry : LiveGeometry
        Detector and axis.
    number : int
        Number of the slice along the axis that it lacks.
    lacking : {"y", "x"}
        Which axis that is.
    """

    def __init__(self, geometry: LiveGeometry, number: int, lacking: str) -> None:
        super().__init__(geometry, (geometry.rows, geometry.size))
        self.number = number
        self.lacking = lacking

    @property
    def rows(self) -> slice:
        """All rows."""
        return slice(0, self.geometry.rows)

    def _filtered(self, views: FilteredViews) -> FilteredLines:
        return views.all_rows

    def _project(self, found: FilteredLines, angles: NDArray[np.float64], threads: int) -> None:
        from tomoservice.recon.live._kernels import add_cross_section

        size = self.geometry.size
        along, across = np.arange(size) - (size - 1) / 2, self.number - (size - 1) / 2
        # Row 0 of a slice (y, x) is at +y.
        x, y = (along, -across) if self.lacking == "y" else (across, -along)
        seen = np.cos(angles)[:, None] * x + np.sin(angles)[:, None] * y + found.half
        positions = np.where(along**2 + across**2 <= (size / 2) ** 2, seen, -1).astype(np.float32)
        values = found.values
        _in_pieces(
            lambda part: add_cross_section(values, positions, *part, self._sum), self.geometry.rows, threads
        )


class BinnedVolume(LivePart):
    """The whole volume (z, y, x) in larger voxels, each the mean of those that it covers.

    Parameters
    ----------
    geometry : LiveGeometry
        Detector and axis.
    binning : int
        Pixels along each edge of a voxel; what is left over at an edge makes one.
    """

    def __init__(self, geometry: LiveGeometry, binning: int) -> None:
        z, y, x = (-(-size // binning) for size in geometry.shape)
        super().__init__(geometry, (y, x, z))
        self.binning = binning

    @property
    def rows(self) -> slice:
        """All rows."""
        return slice(0, self.geometry.rows)

    def _filtered(self, views: FilteredViews) -> FilteredLines:
        found = views.binned(self.binning)
        # The kernel works on whole columns of voxels.
        turned = np.ascontiguousarray(found.values.swapaxes(1, 2))
        return FilteredLines(turned, found.half, found.oversampling)

    def _project(self, found: FilteredLines, angles: NDArray[np.float64], threads: int) -> None:
        from tomoservice.recon.live._kernels import add_volume

        # Voxels cover whole pixels, so the axis need not stand in the middle of them.
        middle = self.geometry.size / (2 * self.binning) - 0.5
        values, steps = found.values, _steps(found, angles)
        centres = np.array([found.half, middle], np.float32)
        _in_pieces(lambda part: add_volume(values, steps, centres, *part, self._sum), len(self._sum), threads)

    def _arranged(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(image.transpose(2, 0, 1))


def _steps(found: FilteredLines, angles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return how many samples each view advances per pixel to the right, and upwards: (view, 2)."""
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * found.oversampling
    return steps.astype(np.float32)


def _in_pieces(work: Callable[[tuple[int, int]], object], count: int, threads: int) -> None:
    """Do work on `count` rows, on several threads."""
    for_each(work, ranges(count, PIECES_PER_THREAD * threads if threads > 1 else 1), threads)
