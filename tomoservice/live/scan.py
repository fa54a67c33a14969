"""One scan, followed from its first projection to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tomoservice.catalog.live_nodes import LiveNode
from tomoservice.catalog.live_records import LiveState
from tomoservice.errors import CatalogError, InputError, ServiceUnavailableError
from tomoservice.live.accumulating import Accumulator
from tomoservice.live.announced import expected_projections
from tomoservice.live.beam import BeamKeeper
from tomoservice.live.display import Display
from tomoservice.live.hearing import LOOK_S, RunEar, extent
from tomoservice.live.manners import Manners
from tomoservice.live.memory import LiveMemory
from tomoservice.live.phase import SaidOfScan
from tomoservice.live.publishing import Publisher
from tomoservice.live.sources import Finding, LiveSource, UnreadableError, open_source
from tomoservice.sources.layout import choose_layout
from tomoservice.sources.run_view import view_run

logger = logging.getLogger(__name__)

MOST_BEHIND = 96
"""Projections that may wait; of more some are skipped."""
KEPT_BEHIND = 32
"""Projections that are not skipped then."""
FIRST_AT_LEAST = 8
"""Projections of which a first picture is made."""
IDLE_S = 0.1
LAST_WRITE_S = 10.0
"""How long the last state may take to be written; the process is stopped within 15 s."""
VOLUME_EVERY_S = 5.0
FINISHING_UPDATES = 4
"""How many times rarer updates are when no projections come any more: the service has other things to do."""
LOOKS_IN_PATIENCE = 4
"""How often it is looked, while no projection comes, whether the run goes on otherwise: with flats, say."""
REFERENCES_S = 5.0
"""How often it is looked for a scan's own flats and darks while projections come that others correct."""
LONGEST_PAUSE_S = 60.0
REFERENCE_TRIES, REFERENCE_PAUSE_S = 4, 0.5
"""How often flats and darks are looked for once the run is over, should they not be readable at once."""
RETRY_S = 10.0
"""How long frames that cannot be read are tried again once the run is over."""
TROUBLE = (InputError, CatalogError, ServiceUnavailableError)
"""What may pass while frames are looked for or read."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly things are done.

    Parameters
    ----------
    update_s
        Seconds between updates, at least.
    patience_s
        Seconds without anything new after which a run without a stop document is left alone.
    threads
        Threads that reconstruct.
    """

    update_s: float = 0.5
    patience_s: float = 120.0
    threads: int = 1


class LiveScan:
    """Follows one run from its first projection to its end.

    Parameters
    ----------
    run : BlueskyRun
        Tiled client of the run.
    node : LiveNode
        Where the reconstruction goes.
    finding : Finding
        Which raw files may be read.
    memory : LiveMemory
        What earlier scans have shown.
    pace : Pace
        How quickly.
    manners : Manners
        Told while projections come, and when they do not any more.
    """

    def __init__(
        self,
        run: Any,
        node: LiveNode,
        finding: Finding,
        memory: LiveMemory,
        pace: Pace,
        manners: Manners,
    ) -> None:
        self._run, self._finding, self._memory, self._pace = run, finding, memory, pace
        self._manners = manners
        self._uid = str(run.path_parts[-1])
        self._ear = RunEar(run)
        self._publisher = Publisher(node)
        self._stopping = threading.Event()
        self._published = self._volume_shown = 0.0
        self._moved = self._measured = time.monotonic()
        self._extent: Mapping[str, Any] | None = None
        self._gave_up = False
        """Whether the end was that nothing came; what is done afterwards moves the clock again."""
        self._trouble = ""
        self._referred = self._refer_next = 0.0
        self._refer_pause = REFERENCES_S
        self._keeper = BeamKeeper(run, finding)
        self._display = Display(self._uid, expected_projections(self._ear.start))
        self._ledger = self._display.ledger
        self._work: Accumulator | None = None

    @property
    def went_silent(self) -> bool:
        """Whether nothing has come for long of a run that has no stop document: more may come."""
        return self._ear.stop is None and self._gave_up

    @property
    def extent(self) -> Mapping[str, Any] | None:
        """How far the run had come when it was looked at last; None if that has not been done."""
        return self._extent

    def stop(self) -> None:
        """End soon; what there is stays readable."""
        self._stopping.set()

    def run(self) -> LiveState:
        """Follow the run to its end, and return how that was.

        Raises
        ------
        TomoserviceError
            Something that is no fault of the scan. The node says so.
        """
        try:
            self._follow()
        except InputError as error:
            logger.warning("run %s: %s", self._uid, error)
            self._end(LiveState.FAILED, str(error))
        except Exception as error:
            self._end(LiveState.FAILED, str(error) or type(error).__name__)
            raise
        finally:
            self._manners.leave(self._uid)
            if self._work is not None:
                self._work.close()
            self._publisher.stop()
        return self._display.state

    def _follow(self) -> None:
        self._manners.enter(self._uid)
        self._publish(force=True)
        work = self._await_first()
        if work is None:
            return
        self._set(LiveState.ACCUMULATING)
        while not self._is_over():
            busy = self._step(work)
            self._look_for_references(work)
            self._publish()
            if not busy:
                self._stopping.wait(IDLE_S)
        if self._is_unwanted:
            self._end(LiveState.ABORTED, "ended before the scan")
            return
        self._finish(work)

    # waiting for projections

    def _await_first(self) -> Accumulator | None:
        """Wait for the first projections; None if there are none."""
        failed = ""
        while not self._is_unwanted:
            ended = self._ear.stop is not None
            try:
                self._ear.look_if_due()
                source = open_source(self._run, self._finding, ended=ended)
                if len(source.look()):
                    return self._begin(source)
                source.close()
            except UnreadableError as error:
                if ended:
                    raise
                self._set(LiveState.UNREADABLE, f"reconstructed at its end: {error.cause}")
            except (InputError, ServiceUnavailableError) as error:
                failed = str(error)
            self._gave_up = not ended and self._is_abandoned()
            if ended or self._gave_up:
                why = failed or "no projection has come"
                aborted = ended and self._ear.was_aborted
                self._end(LiveState.ABORTED if aborted else LiveState.FAILED, why)
                return None
            if time.monotonic() - self._referred > LOOK_S:
                # There is time for that before the first projection, and less after it.
                self._keeper.look()
                self._referred = time.monotonic()
            self._publish()
            self._stopping.wait(IDLE_S)
        self._end(LiveState.ABORTED, "ended before the scan")
        return None

    def _begin(self, source: LiveSource) -> Accumulator:
        self._display.message = f"reads {source.description}"
        self._moved = time.monotonic()
        remembered = self._memory.recall(source.frame_shape)
        start = self._ear.start
        try:
            layout = choose_layout(start, view_run(self._run).streams, self._uid)
        except BaseException:
            source.close()
            raise
        self._work = Accumulator(
            source, self._display, self._keeper, SaidOfScan(start, layout), remembered, self._pace.threads
        )
        return self._work

    # what is done again and again

    def _step(self, work: Accumulator) -> bool:
        """Do a piece of work; tell whether there was any."""
        work.wish(self._publisher.wishes)
        accumulating = self._display.state is LiveState.ACCUMULATING
        try:
            new = work.see()
            if accumulating and len(self._ledger.waiting()) > MOST_BEHIND:
                self._ledger.thin_out(KEPT_BEHIND)
            busy = work.step()
        except TROUBLE as error:
            if str(error) != self._trouble:
                logger.warning("run %s: %s; trying again", self._uid, error)
            self._trouble = str(error)
            return False
        self._trouble = ""
        if new or busy:
            self._moved = time.monotonic()
        return busy

    def _look_for_references(self, work: Accumulator) -> None:
        """Now and then, use the scan's own flats and darks, should they have come in the middle of it."""
        keeper = self._keeper
        if keeper.beam is None or not keeper.is_provisional or time.monotonic() < self._refer_next:
            return
        if keeper.look():
            self._refer_pause = REFERENCES_S
            work.refine()
        else:
            # A service that does not answer holds up each look for seconds.
            self._refer_pause = min(2 * self._refer_pause, LONGEST_PAUSE_S)
        self._refer_next = time.monotonic() + self._refer_pause

    # the end

    @property
    def _is_unwanted(self) -> bool:
        return self._stopping.is_set() or self._publisher.wishes.stop or self._publisher.gone

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._moved > self._pace.patience_s

    def _is_over(self) -> bool:
        """Tell whether nothing more is to be expected of the scan."""
        if self._is_unwanted:
            return True
        self._ear.look_if_due()
        return self._ear.stop is not None or self._is_abandoned()

    def _is_abandoned(self) -> bool:
        """Tell whether nothing has come for long, neither projections nor flats nor anything else."""
        now = time.monotonic()
        if now - max(self._moved, self._measured) > self._pace.patience_s / LOOKS_IN_PATIENCE:
            self._measured = now
            try:
                found = extent(self._run, self._finding)
            except ServiceUnavailableError:
                # Whoever does not answer may not be told of what comes, either.
                self._moved = now
                return False
            if self._extent is not None and found != self._extent:
                self._moved = now
            self._extent = found
        return self._is_silent

    def _finish(self, work: Accumulator) -> None:
        """Add what is left, correct what was provisional, and say how it ended."""
        self._gave_up = self._ear.stop is None and self._is_silent
        self._set(LiveState.FINISHING)
        self._publish(force=True)
        # The processor belongs to whoever makes the final volume.
        self._manners.leave(self._uid)
        for _ in range(REFERENCE_TRIES):
            if self._keeper.look() or self._stopping.wait(REFERENCE_PAUSE_S):
                break
        work.refine()
        self._ledger.take_back_skipped()
        self._work_off(work)
        work.seek(last=True)
        # Once for the search that has begun, once for what it has found.
        while work.is_searching and not self._stopping.is_set():
            work.seek(last=True)
            self._work_off(work)
        if self._is_unwanted and (self._ledger.waiting().size or not work.pictures.is_settled):
            self._end(LiveState.ABORTED, "ended before all projections were shown")
            return
        geometry = work.pictures.shown.geometry
        self._memory.remember((geometry.rows, geometry.columns), work.result())
        stop = self._ear.stop
        if stop is None:
            silent = f"nothing new for {self._pace.patience_s:g} s, and no stop document"
            self._end(LiveState.ABORTED, f"{silent}; goes on if more comes")
        elif self._ear.was_aborted:
            self._end(LiveState.ABORTED, f"the run ended with {stop.get('exit_status')}")
        else:
            uncertain = self._display.axis.chosen(geometry.columns).provisional
            self._end(LiveState.DONE, "the rotation axis is not certain" if uncertain else "")

    def _work_off(self, work: Accumulator) -> None:
        """Do all that is to be done.

        Raises
        ------
        InputError
            Frames cannot be read, time and again.
        """
        until = time.monotonic() + RETRY_S
        while not self._is_unwanted:
            busy = self._step(work)
            self._publish()
            if busy:
                until = time.monotonic() + RETRY_S
                continue
            if self._trouble and time.monotonic() > until:
                raise InputError(self._uid, self._trouble)
            if not (self._trouble or work.is_searching):
                return
            self._stopping.wait(IDLE_S)

    def _end(self, state: LiveState, message: str) -> None:
        self._set(state, message)
        self._publisher.finish(self._display.snapshot(self._keeper.beam, volume=True), LAST_WRITE_S)
        logger.info("run %s: live reconstruction %s %s", self._uid, state.value, message)

    # what is shown

    def _set(self, state: LiveState, message: str | None = None) -> None:
        if state is not self._display.state:
            logger.info("run %s: %s", self._uid, state.value)
        self._display.state = state
        if message is not None:
            self._display.message = message

    def _publish(self, *, force: bool = False) -> None:
        now = time.monotonic()
        shows = self._ledger.shown.size
        first = self._published == 0 and shows >= FIRST_AT_LEAST
        finishing = self._display.state is LiveState.FINISHING
        due = now - self._published >= (FINISHING_UPDATES if finishing else 1) * self._pace.update_s
        if not (self._publisher.is_idle and (force or first or due)):
            return
        volume = shows > 0 and not finishing and now - self._volume_shown >= VOLUME_EVERY_S
        if volume:
            self._volume_shown = now
        self._published = now
        self._publisher.publish(self._display.snapshot(self._keeper.beam, volume=volume))
