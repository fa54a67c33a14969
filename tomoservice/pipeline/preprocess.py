"""From raw frames to line integrals, a block of detector rows at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda import Machine
from tomoservice.errors import CancelledError
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.buffers import Buffers, copy
from tomoservice.pipeline.chain import Chain
from tomoservice.pipeline.memory import LARGEST_PIECE
from tomoservice.pipeline.on_device import apply_step
from tomoservice.pipeline.pieces import checking
from tomoservice.pipeline.reading import ProjectionReader, length
from tomoservice.pipeline.selection import Selection, bin_frames
from tomoservice.pipeline.stages import Block, Phase, apply_steps
from tomoservice.pipeline.whole_frames import FrameFile, frame_file
from tomoservice.prep import on_device
from tomoservice.prep.flat_field import OpenBeam, line_integrals
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.on_device.flat_field import Mixture
from tomoservice.scan import TomoScan

logger = logging.getLogger(__name__)

Timer = Callable[[str], AbstractContextManager[None]]
"""Makes a context that takes the time of the stage with this name."""


class Preprocessor:
    """Applies the stages before the reconstruction to parts of a scan.

    A part gives the same numbers as the whole, however it is cut: steps that look at neighbouring rows get
    them from the scan.

    Parameters
    ----------
    scan, selection
        What is read.
    beam, chain
        What is done to it.
    piece_bytes
        Raw bytes that are read and corrected at once.
    buffer_rows
        Rows of sinograms that a buffer holds at least.
    machine
        Device that sinograms are wanted on; the stages are then done there as far as its memory suffices.
    """

    def __init__(  # noqa: PLR0913 - what is corrected, by what, and where
        self,
        scan: TomoScan,
        selection: Selection,
        beam: Beam,
        chain: Chain,
        piece_bytes: int = LARGEST_PIECE,
        buffer_rows: int = 0,
        *,
        machine: Machine | None = None,
    ) -> None:
        self._scan = scan
        self._selection = selection
        self._beam = beam
        self._chain = chain
        self._frames: FrameFile | None = None
        self._kept: Block | None = None
        self._buffers = Buffers(buffer_rows * selection.angles_deg.size * selection.width)
        self._rest = Chain(None)
        self._machine = machine
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
            In the memory of the device that was given, as long as that suffices.

        Raises
        ------
        CancelledError
            If `cancelled` said so.
        InputError
            If the frames cannot be read.
        """
        time = timed or untimed
        machine = self._machine
        if machine is None or self._frames is not None:
            return self._sinograms(start, stop, time, cancelled)
        try:
            return self._sinograms(start, stop, time, cancelled)
        except machine.out_of_memory as error:
            reason = str(error)
        logger.warning(
            "%s: no memory for %d rows of sinograms; stages before the reconstruction go on on the CPU (%s)",
            *(machine.name, stop - start, reason),
        )
        self._machine = self._kept = None
        with machine.active():
            machine.release()
        return self._sinograms(start, stop, time, cancelled)

    def _sinograms(
        self, start: int, stop: int, time: Timer, cancelled: Callable[[], bool] | None
    ) -> NDArray[np.float32]:
        if self._frames is not None:
            low, high = self._selection.rows_around(start, stop, self._rest.margin)
            with time("read"):
                block = Block(self._frames.read(low, high), low)
            return apply_steps(
                self._rest.steps, block, (start, stop), self._selection, time, cancelled
            ).sinograms
        result = self._through(self._chain, start, stop, time, cancelled)
        if self._machine is not None:
            with self._machine.active():
                # Others read it on other streams.
                self._machine.wait()
        return result

    def _through(
        self, chain: Chain, start: int, stop: int, time: Timer, cancelled: Callable[[], bool] | None
    ) -> NDArray[np.float32]:
        """Take slices through a chain; neighbouring blocks share the rows of their margins."""
        selection = self._selection
        before, after = chain.split()
        low, high = selection.rows_around(start, stop, after.margin)
        block = self._room((high - low, selection.angles_deg.size, selection.width))
        done = low
        kept, self._kept = self._kept, None
        if kept is not None and kept.start <= low < kept.stop < high:
            # The block before has come so far already.
            done = kept.stop
            self._copy(kept.part(low, done).sinograms, block[: done - low])
        if kept is not None:
            self.give_back(kept.sinograms)
        self._fill(block[done - low :], before, done, high, time, cancelled)
        if after.margin and stop < selection.slices:
            shared = max(high - 2 * after.margin, low)
            self._kept = Block(self._room((high - shared, *block.shape[1:])), shared)
            self._copy(block[shared - low :], self._kept.sinograms)
        result = self._apply(after, Block(block, low), (start, stop), time, cancelled)
        if self._machine is None and not np.may_share_memory(result, block):
            self._buffers.give_back(block)
        return result

    def _apply(
        self,
        chain: Chain,
        block: Block,
        wanted: tuple[int, int],
        time: Timer,
        cancelled: Callable[[], bool] | None,
    ) -> NDArray[np.float32]:
        apply = None if self._machine is None else partial(apply_step, self._machine)
        steps = chain.steps
        return apply_steps(steps, block, wanted, self._selection, time, cancelled, apply=apply).sinograms

    def _copy(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
        """Copy sinograms, where the stages work."""
        if self._machine is None:
            copy(source, target)
            return
        with self._machine.active():
            target[:] = source

    def _active(self) -> AbstractContextManager[object]:
        return nullcontext() if self._machine is None else self._machine.active()

    def _room(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array with anything in it, where the stages work."""
        if self._machine is None:
            return self._buffers.take(shape)
        with self._machine.active():
            room: NDArray[np.float32] = self._machine.empty(shape, np.float32)
            return room

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
        shape = (high - low, *out.shape[1:])
        recorded = out if (low, high) == (start, stop) else self._room(shape)
        self.recorded(
            selection.detector_rows(low, high),
            selection.columns,
            selection.binning,
            out=recorded,
            timed=time,
            cancelled=cancelled,
        )
        result = self._apply(chain, Block(recorded, low), (start, stop), time, cancelled)
        with self._active():
            xp = np if self._machine is None else self._machine.xp
            shared = xp.may_share_memory(result, out)
        if not shared:
            self._copy(result, out)

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

        check = checking(cancelled, "while working on whole projections")
        with ExitStack() as opened:
            file, *beside = (
                opened.enter_context(frame_file((first, last), angles, columns))
                for _ in range(1 + len(phase.sources))
            )
            for start in range(first, last, rows_at_once):
                stop = min(start + rows_at_once, last)
                sinograms = self._through(before, start, stop, time, cancelled)
                if self._machine is not None:
                    with self._machine.active():
                        sinograms = self._machine.to_host(sinograms)
                file.write(start, sinograms)
                self.give_back(sinograms)
                for other, source in zip(beside, phase.sources, strict=True):
                    with time(phase.name):
                        other.write(start, source.sinograms(start, stop, check))
            at_once = max(rows_at_once * angles // max(last - first, 1) // (1 + len(beside)), 1)
            with time(phase.name):
                file.filter_frames(lambda frames: phase.whole(frames, check), at_once, check, beside=beside)
            self._frames, self._rest = file, rest
            try:
                yield
            finally:
                self._frames = None

    def give_back(self, sinograms: NDArray[np.float32]) -> None:
        """Take back what `sinograms` returned, to be filled again."""
        if isinstance(sinograms, np.ndarray):
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
        `out`, if given, which may be on the device. Otherwise as `sinograms`.
        """
        time = timed or untimed
        with time("read"):
            beam = self._beam.open(rows, columns)
        count = self._selection.angles_deg.size
        shape = (length(rows) // binning, count, length(columns) // binning)
        result = np.empty(shape, np.float32) if out is None else out
        pieces = self._reader.pieces(rows, columns)
        correct = partial(self._correct, beam=beam, binning=binning)
        if self._machine is not None and self._machine.owns(result):
            with self._machine.active():
                brought = on_device.DeviceBeam.of(self._machine, beam)
            correct = partial(self._correct_there, self._machine, beam=brought, binning=binning)
        while True:
            if cancelled is not None and cancelled():
                raise CancelledError("stopped while reading projections")
            with time("read"):
                piece = next(pieces, None)
            if piece is None:
                return result
            places, frames = piece
            with time("flat_field"):
                correct(frames=frames, places=places, sinograms=result)

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
        places = np.arange(len(lines))
        self._correct(frames=frames, places=places, sinograms=sinograms, beam=beam, lines=np.asarray(lines))
        return sinograms.transpose(1, 0, 2)

    def _correct_there(
        self,
        machine: Machine,
        *,
        frames: NDArray[np.generic],
        places: NDArray[np.intp],
        sinograms: NDArray[np.float32],
        beam: on_device.DeviceBeam,
        binning: int,
    ) -> None:
        """Correct frames (projection, row, column) into their places among `sinograms` on the device."""
        least = self._chain.minimum_transmission
        mixture = Mixture(*self._beam.during(places))
        # While others compute.
        counts = on_device.bring_counts(machine, frames)
        with machine.active():
            if binning == 1:
                on_device.correct_frames(
                    machine, counts, beam, sinograms, places, minimum_transmission=least, mixture=mixture
                )
                return
            # Pixels are averaged as the detector would have, before the logarithm.
            count, rows, columns = frames.shape
            corrected = machine.empty((rows, count, columns), np.float32)
            on_device.correct_frames(
                *(machine, counts, beam, corrected, np.arange(count)),
                minimum_transmission=None,
                mixture=mixture,
            )
            binned = on_device.average_pixels(machine, corrected, binning)
            if least is not None:
                on_device.minus_log(machine, binned, minimum_transmission=least)
            sinograms[:, machine.to_device(places)] = binned

    def _correct(
        self,
        *,
        frames: NDArray[np.generic],
        places: NDArray[np.intp],
        sinograms: NDArray[np.float32],
        beam: OpenBeam,
        binning: int = 1,
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
