"""Raw frames of the selected projections, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.pipeline.selection import Selection
from tomoservice.scan import TomoScan
from tomoservice.sources.frames import constant_runs

UNPACKED = 128 * 2**20
"""Bytes that are unpacked at once, at most, however few of them are wanted: half a second's work or so."""


def length(indices: slice) -> int:
    """Return how many indices a slice with a start and a stop holds."""
    return len(range(indices.start, indices.stop, indices.step or 1))


@dataclass(frozen=True, slots=True)
class ProjectionReader:
    """Reads the projections that a selection keeps, a few at a time."""

    scan: TomoScan
    selection: Selection
    piece_bytes: int
    """Raw bytes that are read at once."""

    def pieces(self, rows: slice, columns: slice) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
        """Yield frames (projection, row, column) with their places in a sinogram.

        Parameters
        ----------
        rows, columns
            Detector rows and columns, with a start and a stop; rows may have a step.

        Raises
        ------
        InputError
            If the frames cannot be read, or no row or column is asked for.
        """
        frames = self.scan.projections
        per_frame = length(rows) * length(columns) * max(frames.dtype.itemsize, 4)
        if per_frame == 0:
            raise InputError(self.scan.origin.location, "no rows or columns are kept")
        at_once = max(1, min(self.piece_bytes // per_frame, UNPACKED // self._unpacked(rows)))
        done = 0
        for run in constant_runs(self.selection.projections):
            for begin in range(0, len(run), at_once):
                part = run[begin : begin + at_once]
                source = slice(part.start, part[-1] + 1, part.step)
                places = self.selection.places[done : done + len(part)]
                done += len(part)
                yield places, frames[source, rows, columns]

    def _unpacked(self, rows: slice) -> int:
        """Return the bytes that are unpacked, or read, for some rows of a frame, wanted or not."""
        frames = self.scan.projections
        together: int = getattr(frames, "rows_together", 1)
        chunks = rows.stop // together - rows.start // together + 1
        unpacked = min(int(chunks) * together, frames.shape[1])
        return unpacked * frames.shape[2] * frames.dtype.itemsize

    def at(self, lines: tuple[int, ...], rows: slice, columns: slice) -> NDArray[Any]:
        """Read single projections (projection, row, column), by their lines in a sinogram."""
        numbers = [int(self.selection.projections[self.selection.places == line][0]) for line in lines]
        return np.stack([self.scan.projections[number, rows, columns] for number in numbers])
