"""Our own projector on the processor: several times as fast as ASTRA's, and exact to single precision.

A line is followed from row to row of the slice, or from column to column where it is flatter, and
interpolated between the two nearest pixels (Joseph 1982, DOI 10.1109/TMI.1982.4307572). Flat lines cross the
transposed slice as steep ones cross the slice, so that there is one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.iterative.projector import SliceGeometry
from tomoservice.threads import for_each

# One takes about a nanosecond; between pieces a wish to stop is heard.
UPDATES_PER_PIECE = 100_000_000


class _Lines(NamedTuple):
    """How the lines of each projection cross the slice; see the kernels."""

    turned: NDArray[np.bool_]
    mirrored: NDArray[np.bool_]
    length: NDArray[np.float32]
    table: NDArray[np.float64]

    @classmethod
    def of(cls, geometry: SliceGeometry) -> _Lines:
        cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
        middle, axis = (geometry.size - 1) / 2, geometry.axis
        turned = np.abs(sin) > np.abs(cos)
        along, across = np.where(turned, -sin, cos), np.where(turned, cos, sin)
        slope = 1 / along
        # Detector column j sees x cos + y sin = j - axis; x = column - middle, y = middle - row.
        start = middle - slope * np.where(turned, axis - middle * cos, axis + middle * sin)
        shift = np.where(turned, -across, across) * slope
        # Where columns run against the detector, the detector is mirrored.
        mirrored = slope < 0
        start = np.where(mirrored, start + slope * (geometry.columns - 1), start)
        length = np.abs(slope)
        return cls(turned, mirrored, length.astype(np.float32), np.stack([length, start, shift], axis=1))


class JosephProjector:
    """Joseph's projector as a `ParallelProjector2D`, on the processor.

    Parameters
    ----------
    geometry : SliceGeometry
        Angles, detector, slice and axis.
    threads : int
        Pieces worked on at once.
    groups : sequence of int, optional
        Where groups of neighbouring projections begin; by default they are all one group.
    between : callable, optional
        Called before each piece, by the thread that computes it; what it raises ends the projection.
    """

    def __init__(
        self,
        geometry: SliceGeometry,
        *,
        threads: int = 1,
        groups: Sequence[int] = (0,),
        between: Callable[[], None] | None = None,
    ) -> None:
        self._geometry, self._threads, self._between = geometry, threads, between
        self._lines = _Lines.of(geometry)
        self._groups = [slice(*edges) for edges in pairwise([*groups, len(geometry.angles)])]

    def __enter__(self) -> JosephProjector:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Hold nothing that must be given back."""

    @property
    def groups(self) -> range:
        """Numbers of the groups."""
        return range(len(self._groups))

    def rows(self, group: int) -> slice:
        """Return the part of the sinogram that a group of projections covers."""
        return self._groups[group]

    def _part(self, group: int | None) -> slice:
        return slice(0, len(self._geometry.angles)) if group is None else self._groups[group]

    def forward(self, image: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Project a slice; see `ParallelProjector2D.forward`."""
        from tomoservice.recon.iterative._joseph_kernels import MARGIN, project

        part, size, lines = self._part(group), self._geometry.size, self._lines
        images = np.zeros((2, size, size + 2 * MARGIN), np.float32)
        for which, seen in enumerate((image, image.T)):
            if (lines.turned[part] == bool(which)).any():
                images[which, :, MARGIN:-MARGIN] = seen

        def work(rows: slice) -> None:
            self._listen()
            projected = out[rows]
            project(images, lines.turned[rows], lines.table[rows], projected)
            projected *= lines.length[rows, None]
            mirrored = lines.mirrored[rows]
            projected[mirrored] = projected[mirrored, ::-1]

        for_each(work, _pieces(part.start, part.stop, size * size), self._threads)

    def back(self, sinogram: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Back-project a sinogram; see `ParallelProjector2D.back`."""
        part, lines = self._part(group), self._lines
        turned = lines.turned[part]
        self._back(np.flatnonzero(~turned) + part.start, sinogram, out)
        if turned.any():
            crossed = np.empty_like(out)
            self._back(np.flatnonzero(turned) + part.start, sinogram, crossed)
            out += crossed.T

    def _back(
        self, chosen: NDArray[np.intp], sinogram: NDArray[np.float32], out: NDArray[np.float32]
    ) -> None:
        """Spread the chosen projections, which cross the slice in the same direction."""
        from tomoservice.recon.iterative._joseph_kernels import MARGIN, spread

        lines, size = self._lines, self._geometry.size
        values = np.zeros((len(chosen), self._geometry.columns + 2 * MARGIN), np.float32)
        inner = values[:, MARGIN:-MARGIN]
        np.multiply(sinogram[chosen], lines.length[chosen, None], out=inner)
        mirrored = lines.mirrored[chosen]
        inner[mirrored] = inner[mirrored, ::-1]
        table = lines.table[chosen]

        def work(rows: slice) -> None:
            self._listen()
            spread(values, table, rows.start, out[rows])

        for_each(work, _pieces(0, size, size * max(len(chosen), 1)), self._threads)

    def _listen(self) -> None:
        if self._between is not None:
            self._between()


def _pieces(start: int, stop: int, updates: int) -> list[slice]:
    """Cut a range, each of whose items takes so many updates, into pieces short enough to be cancelled."""
    length = max(1, UPDATES_PER_PIECE // updates)
    return [slice(first, min(first + length, stop)) for first in range(start, stop, length)]
