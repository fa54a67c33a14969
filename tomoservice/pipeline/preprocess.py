"""From raw frames to line integrals, a block of detector rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError
from tomoservice.pipeline.memory import LARGEST_PIECE
from tomoservice.pipeline.reading import ProjectionReader, length
from tomoservice.pipeline.selection import Selection, bin_frames
from tomoservice.prep.flat_field import correct, reduce_frames
from tomoservice.prep.minus_log import minus_log
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import StandardFlatField
from tomoservice.recipe.stages.minus_log import StandardMinusLog
from tomoservice.scan import Frames, TomoScan

Timer = Callable[[str], AbstractContextManager[None]]
"""Makes a context that takes the time of the stage with this name."""


class Preprocessor:
    """Applies the stages before the reconstruction to parts of a scan.

    Every stage so far treats each detector row on its own, so a part gives the same numbers as the whole.
    """

    def __init__(
        self, scan: TomoScan, recipe: Recipe, selection: Selection, piece_bytes: int = LARGEST_PIECE
    ) -> None:
        self._reader = ProjectionReader(scan, selection, piece_bytes)
        self._scan = scan
        self._recipe = recipe
        self._selection = selection

    @property
    def width(self) -> int:
        """Columns of the full frame."""
        return self._scan.shape[2]

    def sinograms(
        self,
        start: int,
        stop: int,
        *,
        timed: Timer | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Return the line integrals behind slices `start` to `stop`, all stages applied.

        Parameters
        ----------
        start, stop
            Slices of the volume.
        timed
            Makes a context that takes the time of the stage with this name.
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
        rows = self._selection.detector_rows(start, stop)
        return self.line_integrals(
            rows, self._selection.columns, self._selection.binning, timed=timed, cancelled=cancelled
        )

    def line_integrals(
        self,
        rows: slice,
        columns: slice,
        binning: int,
        *,
        timed: Timer | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Return the line integrals (row, angle, column) of some detector rows, corrected by the beam alone.

        Rows are a multiple of `binning`; only without binning may they have a step. Otherwise as `sinograms`.
        """
        time = timed or _untimed
        flat, dark = self._reduced_flat(rows, columns)
        count = self._selection.angles_deg.size
        shape = (length(rows) // binning, count, length(columns) // binning)
        result = np.empty(shape, np.float32)
        pieces = self._reader.pieces(rows, columns)
        while True:
            if cancelled is not None and cancelled():
                raise CancelledError("stopped while reading projections")
            with time("read"):
                piece = next(pieces, None)
            if piece is None:
                return result
            with time("correct"):
                integrals = self._line_integrals(piece[1], flat, dark, binning)
                result[:, piece[0]] = integrals.transpose(1, 0, 2)

    def projections(self, lines: tuple[int, ...], rows: slice) -> NDArray[np.float32]:
        """Return single projections, unbinned and in full width, as line integrals.

        Parameters
        ----------
        lines
            Their lines in a sinogram.
        rows
            Detector rows.

        Returns
        -------
        (projection, row, column) float32 array
        """
        columns = slice(0, self._scan.shape[2])
        flat, dark = self._reduced_flat(rows, columns)
        return self._line_integrals(self._reader.at(lines, rows, columns), flat, dark, binning=1)

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


@contextmanager
def _untimed(_stage: str) -> Iterator[None]:
    yield
