"""The work on a scan that goes on: projections are added, corrected, and shown about an axis."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from tomoservice.axis import AxisResult
from tomoservice.catalog.live_records import LiveWishes, WishedSlices
from tomoservice.errors import TomoserviceError
from tomoservice.live.announced import announced_range_deg
from tomoservice.live.beam import BeamKeeper
from tomoservice.live.display import Display
from tomoservice.live.frames import BeamWatch
from tomoservice.live.memory import Remembered
from tomoservice.live.phase import LivePhase, SaidOfScan
from tomoservice.live.pictures import Pictures, Target
from tomoservice.live.seeking import AxisSeeker, covers_whole_turn
from tomoservice.live.sources import LiveSource
from tomoservice.recon.live import LiveGeometry, SlicePosition

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Projections that are added at once."""
SMALL_AT_ONCE = 128
"""Rows of projections that are added at once to a slice that has moved."""
OFF_CENTRE = 0.1
"""Part of the detector's width by which the axis is off its middle in a half-acquisition."""
WHOLE_TURN_DEG = 330.0


class Accumulator:
    """Adds the projections of a scan to its pictures, a few at a time.

    Parameters
    ----------
    source : LiveSource
        Where projections are read; closed with this.
    display : Display
        What is shown, and the books of the projections.
    keeper : BeamKeeper
        Flats and darks.
    said : SaidOfScan
        What the scan says of itself.
    remembered : Remembered, optional
        What a scan before has shown.
    threads : int
        Threads that reconstruct.
    """

    def __init__(
        self,
        source: LiveSource,
        display: Display,
        keeper: BeamKeeper,
        said: SaidOfScan,
        remembered: Remembered | None,
        threads: int,
    ) -> None:
        rows, columns = source.frame_shape
        self._source, self._display, self._keeper, self._said = source, display, keeper, said
        self._remembered = remembered
        self._ledger, self._axis = display.ledger, display.axis
        self._whole = slice(0, rows)
        self._watch = BeamWatch()
        self._seeker = AxisSeeker(rows)
        self._phase = LivePhase(said, display.raw_uid, threads)
        self._wished_axis: float | None = None
        self._wished_ratio: float | None = None
        self._search: Future[AxisResult | None] | None = None
        self._searching = ThreadPoolExecutor(1, "live-axis")
        column = said.number(said.layout.metadata.rotation_axis)
        if column is not None and 0 <= column <= columns - 1:
            self._axis.given, self._axis.source = column, "said by the scan"
        elif remembered is not None and remembered.rotation_axis is not None:
            self._axis.given = remembered.rotation_axis
            self._axis.source = f"that of run {remembered.run_uid[:8]}"
        geometry = self._geometry(rows, columns)
        self.pictures = Pictures(Target(geometry, SlicePosition.middle(geometry)), threads)
        """What is shown, and will be."""
        display.pictures = self.pictures

    def close(self) -> None:
        """Close the files; a search that has begun comes to nothing."""
        self._searching.shutdown(wait=False, cancel_futures=True)
        self._source.close()

    @property
    def is_searching(self) -> bool:
        """Whether the axis is being looked for."""
        return self._search is not None

    def see(self) -> int:
        """Look for projections, and return how many are new.

        Raises
        ------
        InputError
            They cannot be looked at just now.
        ServiceUnavailableError
            The service does not answer.
        """
        return self._ledger.see(self._source.look())

    def step(self) -> bool:
        """Add some projections; tell whether there is more to do at once.

        Raises
        ------
        InputError, ServiceUnavailableError
            As of `see`.
        """
        added = self._add_some()
        caught_up = self._catch_up_some()
        self.seek()
        # What was found just now is still to be shown.
        return added or caught_up or not self.pictures.is_settled

    def wish(self, wishes: LiveWishes) -> None:
        """Show what is wished for; the message says what cannot be."""
        if wishes.rotation_axis != self._wished_axis:
            self._wished_axis = wishes.rotation_axis
            self._wish_axis(wishes.rotation_axis)
        if wishes.delta_beta != self._wished_ratio:
            self._wished_ratio = wishes.delta_beta
            self._wish_phase(wishes.delta_beta)
        self._wish_slices(wishes.slices)

    def _wish_axis(self, column: float | None) -> None:
        columns = self.pictures.shown.geometry.columns
        if column is not None and column > columns - 1:
            self._display.axis_problem = f"an axis at column {column:g} is not on the detector"
            return
        self._display.axis_problem = ""
        self._axis.wished = column
        self._aim()

    def _wish_phase(self, delta_beta: float | None) -> None:
        target = self.pictures.target
        try:
            phase = self._phase.retrieval(delta_beta, (target.geometry.rows, target.geometry.columns))
        except TomoserviceError as error:
            self._display.phase_problem = f"no phase is retrieved by {delta_beta:g}: {error}"
        else:
            self._display.phase_problem = ""
            self.pictures.aim(replace(target, phase=phase))

    def _wish_slices(self, wished: WishedSlices) -> None:
        target = self.pictures.target
        if wished.model_dump(exclude_none=True):
            now = target.position
            position = SlicePosition(
                now.z if wished.z is None else wished.z,
                now.y if wished.y is None else wished.y,
                now.x if wished.x is None else wished.x,
            )
            self.pictures.aim(target.moved(position))

    def seek(self, *, last: bool = False) -> None:
        """Look for the axis in another thread, and use what was found."""
        if self._search is not None:
            if not (self._search.done() or last):
                return
            search, self._search = self._search, None
            self._seeker.learn(search.result())
            self._axis.found = self._seeker.best
            # The axis may be the same, and the views all around a whole turn by now.
            self._aim()
        matter = self._seeker.matter(last=last)
        if matter is not None:
            self._search = self._searching.submit(matter.search)

    def refine(self) -> None:
        """Correct what is shown with the scan's own flats and darks, if they have come."""
        change = self._keeper.refine()
        if change is None:
            return
        before, now = change
        pictures = self.pictures
        is_same_dark = np.array_equal(before.dark, now.dark)
        correction = before.correction_to(now) if is_same_dark else None
        if correction is not None:
            self._seeker.correct(correction)
        if correction is not None and pictures.shown.phase is None and pictures.target.phase is None:
            pictures.correct(correction)
        else:
            if not is_same_dark:
                self._seeker.forget()
            # What another dark makes of a projection, or of its phase, depends on the projection.
            pictures.aim(pictures.target.anew())

    def result(self) -> Remembered:
        """Return what the next scan may begin with."""
        beam, axis = self._keeper.beam, self._axis.chosen(self.pictures.shown.geometry.columns)
        sure = axis.value if not axis.provisional else None
        return Remembered(
            self._display.raw_uid, sure, beam if beam is not None and not beam.provisional else None
        )

    def _add_some(self) -> bool:
        frames = self._ledger.waiting()[:AT_ONCE]
        if not frames.size:
            return False
        pixels = self._source.read(frames, slice(None))
        beam = self._keeper.beam or self._keeper.begin(pixels, self._remembered)
        lost = self._watch.lost(pixels, beam.dark, self._keeper.light)
        self._ledger.judge(frames, lost)
        if lost.any():
            logger.warning("run %s: no beam in frames %s", self._display.raw_uid, frames[lost].tolist())
        good = frames[~lost]
        if good.size:
            angles = self._ledger.angles_deg[good]
            lines = beam.line_integrals(pixels[~lost], slice(None))
            self.pictures.add(self._phase.retrieve(lines, self.pictures.shown.phase), angles)
            self._seeker.keep(good, lines, angles)
            self._ledger.show(good)
        return True

    def _catch_up_some(self) -> bool:
        beam = self._keeper.beam
        missing = self.pictures.missing(self._ledger.shown, AT_ONCE)
        if missing is None or beam is None:
            return False
        frames, rows = missing
        phase = self.pictures.target.phase
        if rows != self._whole:
            frames = (self.pictures.missing(self._ledger.shown, SMALL_AT_ONCE) or missing)[0]
        lines = beam.line_integrals(self._source.read(frames, rows), rows)
        if rows == self._whole:
            # They may have been corrected otherwise before.
            self._seeker.keep(frames, lines, self._ledger.angles_deg[frames])
        retrieved = self._phase.retrieve(lines, phase)
        self.pictures.catch_up(frames, retrieved, self._ledger.angles_deg[frames])
        return True

    def _aim(self) -> None:
        """Have everything shown about the axis that is chosen now."""
        before = self.pictures.target.geometry
        self.pictures.aim(self.pictures.target.about(self._geometry(before.rows, before.columns)))

    def _geometry(self, rows: int, columns: int) -> LiveGeometry:
        axis = min(max(self._axis.chosen(columns).value or 0.0, 0.0), columns - 1.0)
        off_centre = abs(axis - (columns - 1) / 2) > OFF_CENTRE * columns
        whole = announced_range_deg(self._said.start) >= WHOLE_TURN_DEG or covers_whole_turn(
            self._ledger.good_angles_deg
        )
        return LiveGeometry(rows, columns, axis, half_acquisition=off_centre and whole)
