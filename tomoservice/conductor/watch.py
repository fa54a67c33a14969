"""The thread that keeps a claim alive while a reconstruction is computed."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from types import TracebackType
from typing import Self

from tomoservice.catalog.transport import NotFoundError
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.errors import ClaimLostError, ServiceUnavailableError

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often requests to stop are looked for and progress is written, unless the lease is very short."""
LOOKS_PER_LEASE = 10


class StopReason(StrEnum):
    """Why a computation has to end early."""

    CANCELLED = "cancelled"
    """A user asked for it."""
    LOST = "lost"
    """Somebody else has taken over, or the node is gone."""
    SHUTDOWN = "shutdown"
    """The conductor is being stopped."""


class JobWatch:
    """Renews the lease, writes progress and hears requests to stop, in a thread of its own.

    Parameters
    ----------
    writer : ReconstructionWriter
        Holds the claim.
    shutdown : Event
        Set when the conductor is being stopped.
    """

    def __init__(self, writer: ReconstructionWriter, shutdown: threading.Event) -> None:
        self._writer = writer
        self._shutdown = shutdown
        self._reason: StopReason | None = None
        self._progress = Progress("starting")
        self._finished = threading.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="job-watch")
        self._future: Future[None] | None = None

    def __enter__(self) -> Self:
        self._future = self._executor.submit(self._watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._executor.shutdown(wait=True)
        # What went wrong in the thread is raised here, unless something went wrong here already.
        if error is None and self._future is not None:
            self._future.result()

    @property
    def reason(self) -> StopReason | None:
        """Why the computation has to end, or None if it does not."""
        if self._reason is None and self._shutdown.is_set():
            return StopReason.SHUTDOWN
        return self._reason

    def should_stop(self) -> bool:
        """Tell whether the computation has to end now."""
        died = self._future is not None and self._future.done()
        return self.reason is not None or died

    def report(self, progress: Progress) -> None:
        """Take note of the progress; it is written at most once a second."""
        self._progress = progress

    def _watch(self) -> None:
        claim = self._writer.claim
        renewed = time.monotonic()
        written: Progress | None = None
        pause = min(LOOK_S, claim.lease_s / LOOKS_PER_LEASE)
        while not self._finished.wait(pause):
            try:
                if time.monotonic() - renewed > claim.lease_s / 3:
                    claim.renew()
                    renewed = time.monotonic()
                if self._writer.cancel_requested():
                    self._reason = StopReason.CANCELLED
                if self._progress is not written:
                    written = self._progress
                    self._writer.progress(written)
            except ServiceUnavailableError as error:
                # Slabs go to disk without the service; when it is back, `renew` tells whether we still
                # hold the claim.
                logger.warning("%s: %s; computing goes on", claim.path, error)
            except (ClaimLostError, NotFoundError) as error:
                logger.warning("%s: given up: %s", claim.path, error)
                self._reason = StopReason.LOST
                return
