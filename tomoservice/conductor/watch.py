"""The threads that keep a claim alive and listen while a reconstruction is computed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from types import TracebackType
from typing import Self

from tomoservice.catalog.controls import Verb
from tomoservice.catalog.transport import NotFoundError
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.compute.base import Priority
from tomoservice.conductor.listening import Heard, Listener
from tomoservice.errors import ClaimLostError, ServiceUnavailableError

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often requests to stop are looked for and progress is written, unless the lease is very short."""
LOOKS_PER_LEASE = 10
RENEWALS_PER_LEASE = 3


class StopReason(StrEnum):
    """Why a computation has to end early."""

    CANCELLED = "cancelled"
    """A user wants it ended."""
    STOPPED = "stopped"
    """A user wants it ended, and what there is to stay readable."""
    PAUSED = "paused"
    """A user wants it to be left alone for the time being."""
    YIELDED = "yielded"
    """Something more urgent has come."""
    LOST = "lost"
    """Somebody else has taken over, or the node is gone."""
    SHUTDOWN = "shutdown"
    """The conductor is being stopped."""


REASONS = {
    Verb.CANCEL: StopReason.CANCELLED,
    Verb.STOP: StopReason.STOPPED,
    Verb.PAUSE: StopReason.PAUSED,
}


class JobWatch:
    """Renews the lease in one thread; writes progress and hears requests to stop in another.

    Two, because a service that is slow to say what is wanted must not cost the claim.

    Parameters
    ----------
    writer : ReconstructionWriter
        Holds the claim.
    shutdown : Event
        Set when the conductor is being stopped.
    listener : Listener
        Asks what is wanted of the reconstruction.
    """

    def __init__(self, writer: ReconstructionWriter, shutdown: threading.Event, listener: Listener) -> None:
        self._writer = writer
        self._shutdown = shutdown
        self._listener = listener
        self._is_done = False
        self._reason: StopReason | None = None
        self._progress = Progress("starting")
        self._finished = threading.Event()
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="job-watch")
        self._futures: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._futures = [self._executor.submit(repeat) for repeat in (self._renew, self._watch)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._executor.shutdown(wait=True)
        # What went wrong in a thread is raised here, unless something went wrong here already.
        for future in self._futures if error is None else ():
            future.result()

    @property
    def reason(self) -> StopReason | None:
        """Why the computation has to end, or None if it does not."""
        if self._reason is None and self._shutdown.is_set():
            return StopReason.SHUTDOWN
        return self._reason

    @property
    def heard(self) -> Heard:
        """What was heard last."""
        return self._listener.latest

    @property
    def priority(self) -> Priority:
        """With which priority slabs are to be computed now."""
        return Priority[self.heard.priority.name]

    def is_done(self) -> None:
        """Take note that the volume is done: from now on there is only what follows to be ended."""
        self._is_done = True
        if self._reason not in (None, StopReason.LOST):
            self._reason = None

    def should_stop(self) -> bool:
        """Tell whether the computation has to end now."""
        return self.reason is not None or any(future.done() for future in self._futures)

    @property
    def progress(self) -> Progress:
        """What was reported last."""
        return self._progress

    def report(self, progress: Progress) -> None:
        """Take note of the progress; it is written at most once a second."""
        self._progress = progress

    def waits(self, reason: str) -> None:
        """Say what is waited for, beside how far the computation has come."""
        self.report(replace(self._progress, stage=f"waiting: {reason}", seconds_left=None))

    def _renew(self) -> None:
        claim = self._writer.claim
        self._repeat(claim.renew, claim.lease_s / RENEWALS_PER_LEASE)

    def _watch(self) -> None:
        written: Progress | None = None

        def look() -> None:
            nonlocal written
            if self._reason is None:
                self._listen()
            if self._progress is not written:
                written = self._progress
                self._writer.progress(written)

        self._repeat(look, min(LOOK_S, self._writer.claim.lease_s / LOOKS_PER_LEASE))

    def _repeat(self, action: Callable[[], None], pause: float) -> None:
        """Do something again and again until the end, or until the claim is lost."""
        path = self._writer.claim.path
        while not self._finished.wait(pause):
            try:
                action()
            except ServiceUnavailableError as error:
                # Slabs go to disk without the service; when it is back, `renew` tells whether we still
                # hold the claim.
                logger.warning("%s: %s; computing goes on", path, error)
            except (ClaimLostError, NotFoundError) as error:
                logger.warning("%s: given up: %s", path, error)
                self._reason = StopReason.LOST
                return

    def _listen(self) -> None:
        is_done = self._is_done
        heard = self._listener.hear_of_follow_up() if is_done else self._listener.hear()
        if is_done is not self._is_done:
            # Of the volume, which has been done meanwhile.
            return
        if self._reason is StopReason.LOST:
            # Found by the other thread meanwhile.
            return
        if heard.wishes.verb is not None:
            # For good, even if it is withdrawn: work may have ended because of it.
            self._reason = REASONS[heard.wishes.verb]
        elif heard.before is not None:
            self._reason = StopReason.YIELDED
