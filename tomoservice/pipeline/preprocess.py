"""From raw frames to line integrals, a block of detector rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.buffers import Buffers
from tomoservice.pipeline.chain import Chain
from tomoservice.pipeline.memory import LARGEST_PIECE
from tomoservice.pipeline.reading import ProjectionReader, length
from tomoservice.pipeline.selection import Selection, bin_frames
from tomoservice.pipeline.stages import Block, Phase, apply_steps
from tomoservice.pipeline.whole_frames import FrameFile, frame_file
from tomoservice.prep.flat_field import OpenBeam, line_integrals
from tomoservice.prep.minus_log import minus_log
from tomoservice.scan import TomoScan

Timer = Callable[[str], AbstractContextManager[None]]
"""Makes a context that takes the time of the stage with this name."""


class Preprocessor:
    """Applies the stages before the reconstruction to parts of a scan.

    A part gives the same numbers as the whole, however it is cut: steps that look at neighbouring rows get
    them from the scan.
    """

    def __init__(
        self,
        scan: TomoScan,
        selection: Selection,
        beam: Beam,
        chain: Chain,
        piece_bytes: int = LARGEST_PIECE,
        buffer_rows: int = 0,
    ) -> None:
        self._scan = scan
        self._selection = selection
        self._beam = beam
        self._chain = chain
        self._frames: FrameFile | None = None
        self._kept: Block | None = None
        self._buffers = Buffers(buffer_rows * selection.angles_deg.size * selection.width)
        self._rest = Chain(None)
        self._reader = ProjectionReader(scan, selection, piece_bytes)

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
        time = timed or untimed
        if self._frames is not None:
            low, high = self._selection.rows_around(start, stop, self._rest.margin)
            with time("read"):
                block = Block(self._frames.read(low, high), low)
            return apply_steps(
                self._rest.steps, block, (start, stop), self._selection, time, cancelled
            ).sinograms
        return self._through(self._chain, start, stop, time, cancelled)

    def _through(
        self, chain: Chain, start: int, stop: int, time: Timer, cancelled: Callable[[], bool] | None
    ) -> NDArray[np.float32]:
        """Take slices through a chain; neighbouring blocks share the rows of their margins."""
        selection = self._selection
        before, after = chain.split()
        low, high = selection.rows_around(start, stop, after.margin)
        block = self._buffers.take((high - low, selection.angles_deg.size, selection.width))
        done = low
        kept, self._kept = self._kept, None
        if kept is not None and kept.start <= low < kept.stop < high:
            # The block before has come so far already.
            done = kept.stop
            block[: done - low] = kept.part(low, done).sinograms
        if kept is not None:
            self._buffers.give_back(kept.sinograms)
        self._fill(block[done - low :], before, done, high, time, cancelled)
        if after.margin:
            shared = max(high - 2 * after.margin, low)
            self._kept = Block(self._buffers.take((high - shared, *block.shape[1:])), shared)
            self._kept.sinograms[:] = block[shared - low :]
        result = apply_steps(
            after.steps, Block(block, low), (start, stop), selection, time, cancelled
        ).sinograms
        if not np.may_share_memory(result, block):
            self._buffers.give_back(block)
        return result

    def _fill(
        self,
        out: NDArray[np.float32],
        chain: Chain,
        start: int,
        stop: int,
        time: Timer,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        """Take the slices from `start` through a chain, into `out`."""
        selection = self._selection
        low, high = selection.rows_around(start, stop, chain.margin)
        recorded = out if (low, high) == (start, stop) else None
        recorded = self.recorded(
            selection.detector_rows(low, high),
            selection.columns,
            selection.binning,
            out=recorded,
            timed=time,
            cancelled=cancelled,
        )
        result = apply_steps(
            chain.steps, Block(recorded, low), (start, stop), selection, time, cancelled
        ).sinograms
        if not np.may_share_memory(result, out):
            out[:] = result

    @contextmanager
    def whole_frames(
        self, phase: Phase, rows_at_once: int, time: Timer, cancelled: Callable[[], bool]
    ) -> Iterator[None]:
        """Do the steps up to the phase retrieval now, for the whole scan, and keep the result on disk.

        Parameters
        ----------
        phase
            The step of the chain that is done on whole projections.
        rows_at_once
            Rows of sinograms that may be held.
        time
            Takes the time of stages.
        cancelled
            Asked between pieces whether to stop.
        """
        before, rest = self._chain.around(phase)
        selection = self._selection
        first, last = selection.rows_around(0, selection.slices, phase.margin + rest.margin)
        angles, columns = selection.angles_deg.size, selection.width

        def check() -> None:
            if cancelled():
                raise CancelledError("stopped while working on whole projections")

        with frame_file((first, last), angles, columns) as file:
            for start in range(first, last, rows_at_once):
                stop = min(start + rows_at_once, last)
                sinograms = self._through(before, start, stop, time, cancelled)
                file.write(start, sinograms)
                self.give_back(sinograms)
            at_once = max(rows_at_once * angles // max(last - first, 1), 1)
            with time(phase.name):
                file.filter_frames(phase.whole, at_once, check)
            self._frames, self._rest = file, rest
            try:
                yield
            finally:
                self._frames = None

    def give_back(self, sinograms: NDArray[np.float32]) -> None:
        """Take back what `sinograms` returned, to be filled again."""
        self._buffers.give_back(sinograms)

    def recorded(
        self,
        rows: slice,
        columns: slice,
        binning: int,
        *,
        out: NDArray[np.float32] | None = None,
        timed: Timer | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Return the sinograms (row, angle, column) of some detector rows, corrected by the beam alone.

        Rows are a multiple of `binning`; only without binning may they have a step. The result goes into
        `out`, if given. Otherwise as `sinograms`.
        """
        time = timed or untimed
        with time("read"):
            beam = self._beam.open(rows, columns)
        count = self._selection.angles_deg.size
        shape = (length(rows) // binning, count, length(columns) // binning)
        result = np.empty(shape, np.float32) if out is None else out
        pieces = self._reader.pieces(rows, columns)
        while True:
            if cancelled is not None and cancelled():
                raise CancelledError("stopped while reading projections")
            with time("read"):
                piece = next(pieces, None)
            if piece is None:
                return result
            places, frames = piece
            with time("flat_field"):
                self._correct(frames, beam, places, binning, result)

    def projections(self, lines: tuple[int, ...], rows: slice) -> NDArray[np.float32]:
        """Return single projections, unbinned and in full width, corrected by the beam alone.

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
        columns = slice(0, self.width)
        frames = self._reader.at(lines, rows, columns)
        sinograms = np.empty((length(rows), len(lines), self.width), np.float32)
        beam = self._beam.open(rows, columns)
        self._correct(frames, beam, np.arange(len(lines)), 1, sinograms, np.asarray(lines))
        return sinograms.transpose(1, 0, 2)

    def _correct(
        self,
        frames: NDArray[np.generic],
        beam: OpenBeam,
        places: NDArray[np.intp],
        binning: int,
        sinograms: NDArray[np.float32],
        lines: NDArray[np.intp] | None = None,
    ) -> None:
        """Correct frames (projection, row, column) into their places among `sinograms`."""
        weights, brightness = self._beam.during(places if lines is None else lines)
        least = self._chain.minimum_transmission
        projections = sinograms.transpose(1, 0, 2)
        neighbours = bool(np.all(np.diff(places) == 1))
        whole = slice(int(places[0]), int(places[-1]) + 1) if neighbours else places
        if binning == 1 and neighbours:
            line_integrals(
                frames,
                beam,
                minimum_transmission=least,
                weights=weights,
                brightness=brightness,
                out=projections[whole],
            )
            return
        # Pixels are averaged as the detector would have, before the logarithm.
        corrected = line_integrals(
            frames,
            beam,
            minimum_transmission=least if binning == 1 else None,
            weights=weights,
            brightness=brightness,
        )
        if binning > 1:
            corrected = bin_frames(corrected, binning)
            if least is not None:
                minus_log(corrected, minimum_transmission=least, out=corrected)
        projections[whole] = corrected


@contextmanager
def untimed(_stage: str) -> Iterator[None]:
    """Take no time."""
    yield
