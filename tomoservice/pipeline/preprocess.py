"""From raw frames to line integrals, a block of detector rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError, InputError
from tomoservice.pipeline.memory import LARGEST_PIECE
from tomoservice.pipeline.selection import Selection, bin_frames
from tomoservice.prep.flat_field import correct, reduce_frames
from tomoservice.prep.minus_log import minus_log
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import StandardFlatField
from tomoservice.recipe.stages.minus_log import StandardMinusLog
from tomoservice.scan import Frames, TomoScan


class Preprocessor:
    """Applies the stages before the reconstruction to parts of a scan.

    Every stage so far treats each detector row on its own, so a part gives the same numbers as the whole.
    """

    def __init__(
        self, scan: TomoScan, recipe: Recipe, selection: Selection, piece_bytes: int = LARGEST_PIECE
    ) -> None:
        self._piece_bytes = piece_bytes
        self._scan = scan
        self._recipe = recipe
        self._selection = selection

    @property
    def width(self) -> int:
        """Columns of the full frame."""
        return self._scan.shape[2]

    def sinograms(
        self,
        rows: slice,
        *,
        columns: slice | None = None,
        binning: int | None = None,
        timed: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Return the line integrals of some detector rows as sinograms.

        Parameters
        ----------
        rows
            Detector rows, a multiple of `binning`; only without binning may they have a step.
        columns, binning
            What to keep of each row; by default what the recipe selects.
        timed
            Called with the name of a stage when a piece of it is done.
        cancelled
            Asked between pieces whether to stop.

        Returns
        -------
        (row, angle, column) float32 array, contiguous

        Raises
        ------
        CancelledError
            If `cancelled` said so.
        InputError
            If the frames cannot be read.
        """
        columns = self._selection.columns if columns is None else columns
        binning = self._selection.binning if binning is None else binning
        flat, dark = self._reduced_flat(rows, columns)
        count = self._selection.angles_deg.size
        shape = (length(rows) // binning, count, length(columns) // binning)
        result = np.empty(shape, np.float32)
        for angles, kept in self._pieces(rows, columns):
            if cancelled is not None and cancelled():
                raise CancelledError("stopped while reading projections")
            frames = self._scan.projections[angles, rows, columns]
            if timed:
                timed("read")
            integrals = self._line_integrals(frames, flat, dark, binning)
            result[:, kept] = integrals.transpose(1, 0, 2)
            if timed:
                timed("flat_field_and_minus_log")
        return result

    def projections(self, indices: tuple[int, ...], rows: slice) -> NDArray[np.float32]:
        """Return single projections, unbinned and in full width, as line integrals.

        Parameters
        ----------
        indices
            Projections among those that the recipe keeps.
        rows
            Detector rows.

        Returns
        -------
        (projection, row, column) float32 array
        """
        columns = slice(0, self._scan.shape[2])
        flat, dark = self._reduced_flat(rows, columns)
        first, step = self._selection.angles.start, self._selection.angles.step
        frames = [self._scan.projections[first + i * step, rows, columns] for i in indices]
        return self._line_integrals(np.stack(frames), flat, dark, binning=1)

    def _line_integrals(
        self,
        frames: NDArray[np.generic],
        flat: NDArray[np.float32] | None,
        dark: NDArray[np.float32] | None,
        binning: int,
    ) -> NDArray[np.float32]:
        if flat is None:
            # Already divided by the beam; what is left to do is to mend values that are not finite.
            flat = np.ones(frames.shape[1:], np.float32)
        transmission = bin_frames(correct(frames, flat, dark), binning)
        stage = self._recipe.minus_log
        if not isinstance(stage, StandardMinusLog):
            return transmission
        return minus_log(transmission, minimum_transmission=stage.minimum_transmission, out=transmission)

    def _reduced_flat(
        self, rows: slice, columns: slice
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        stage = self._recipe.flat_field
        if not isinstance(stage, StandardFlatField):
            return None, None
        dark = self._reduced(self._scan.darks, rows, columns, stage.combine)
        flat = self._reduced(self._scan.flats, rows, columns, stage.combine)
        if flat is None:
            shape = (length(rows), length(columns))
            flat = np.full(shape, self._open_beam_level, np.float32)
        return flat, dark

    @cached_property
    def _open_beam_level(self) -> float:
        """Counts of the open beam, taken to be uniform, for a scan without flats.

        The brightest percent of a few projections over the whole frame: wherever the sample leaves part of
        the field of view free, that is the beam beside it.
        """
        count = self._scan.shape[0]
        sample = sorted({round(i * (count - 1) / 4) for i in range(5)})
        frames = np.stack([self._scan.projections[i] for i in sample])
        return float(np.nanpercentile(frames, 99))

    def _reduced(
        self, frames: Frames | None, rows: slice, columns: slice, method: str
    ) -> NDArray[np.float32] | None:
        return None if frames is None else reduce_frames(frames[:, rows, columns], method)

    def _pieces(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """Cut the angles so that a piece of raw frames is small: where to read from, where to put it."""
        angles = self._selection.angles
        pixel = max(self._scan.projections.dtype.itemsize, 4)
        per_frame = length(rows) * length(columns) * pixel
        if per_frame == 0:
            raise InputError(self._scan.origin.location, "no rows or columns are kept")
        at_once = max(1, self._piece_bytes // per_frame)
        count = self._selection.angles_deg.size
        for begin in range(0, count, at_once):
            end = min(begin + at_once, count)
            source = slice(
                angles.start + begin * angles.step, angles.start + (end - 1) * angles.step + 1, angles.step
            )
            yield source, slice(begin, end)


def length(indices: slice) -> int:
    """Return how many indices a slice with a start and a stop holds."""
    return len(range(indices.start, indices.stop, indices.step or 1))
