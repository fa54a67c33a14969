"""Looking for reconstructions, claiming them, and what becomes of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tomoservice.catalog.claims import Claim, Worker, crashes_before, try_claim
from tomoservice.catalog.nodes import find_in_state, read_record
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, connect, disconnect
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.conductor.job import Job, load_libraries, reconstruct
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.watch import JobWatch, StopReason
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ClaimLostError,
    EngineError,
    ServiceUnavailableError,
    TomoserviceError,
)
from tomoservice.settings import Settings

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 15.0

Result = TypeVar("Result")


class Conductor:
    """Drives reconstructions to completion, one at a time, until it is stopped.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write and register.
    settings : Settings
        Where volumes go; lease, memory, pace.
    log_file : str
        Where a user finds the traceback of an unexpected error.
    """

    def __init__(
        self, uri: str, api_key: str | None, settings: Settings, *, log_file: str = "the log"
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._settings = settings
        self._log_file = log_file
        self._worker = Worker()
        self._shutdown = threading.Event()
        self._root: Any = None

    def stop(self) -> None:
        """Ask the conductor to stop; work in progress is given back within about a second."""
        self._shutdown.set()

    def close(self) -> None:
        """Close the connection to the service."""
        if self._root is not None:
            disconnect(self._root)
            self._root = None

    def run(self) -> None:
        """Work until `stop` is called. A service that does not answer is waited for."""
        pause = 0.0
        idle_before = False
        while not self._shutdown.is_set():
            try:
                worked = self.step()
                pause = 0.0 if worked else self._settings.conductor.poll_s
                if not worked and not idle_before:
                    idle_before = True
                    load_libraries()
            except ServiceUnavailableError as error:
                pause = min(2 * pause or 0.5, LONGEST_PAUSE_S)
                logger.warning("%s; trying again in %g s", error, pause)
            self._shutdown.wait(pause)
        self.close()

    def step(self) -> bool:
        """Work on the first reconstruction that can be claimed; tell whether there was one.

        Raises
        ------
        ServiceUnavailableError
            The service does not answer.
        """
        if self._root is None:
            self._root = connect(self._uri, self._api_key)
            logger.info("conductor of %s at work", self._uri)
        for node, record in self._candidates():
            if self._shutdown.is_set():
                return False
            claim = try_claim(node, self._worker, self._settings.conductor.lease_s)
            if claim is not None:
                self._work(claim, record)
                return True
        return False

    def _candidates(self) -> Iterator[tuple[Any, ReconstructionRecord]]:
        yield from find_in_state(self._root, State.QUEUED)
        # Whoever worked on one of these may have died.
        yield from find_in_state(self._root, State.RUNNING)

    def _work(self, claim: Claim, record: ReconstructionRecord) -> None:
        """Bring a claimed reconstruction to an end, whatever happens."""
        writer = ReconstructionWriter(claim)
        logger.info("%s: attempt %d", record.path, claim.attempt)
        try:
            self._drive(writer)
        except (ClaimLostError, NotFoundError) as error:
            # Another conductor's now, or deleted: not ours to write to.
            logger.warning("%s: given up: %s", record.path, error)
        except ServiceUnavailableError:
            # Only while stopping; the lease runs out and another conductor goes on.
            raise
        except TomoserviceError as error:
            logger.warning("%s: failed: %s", record.path, error)
            self._give_up(writer, str(error))
        except Exception as error:
            logger.exception("%s: attempt %d: unexpected error", record.path, claim.attempt)
            self._give_up(
                writer,
                f"unexpected {type(error).__name__}: {error}; the traceback is in {self._log_file}, "
                f"search for {record.path}",
            )

    def _drive(self, writer: ReconstructionWriter) -> None:
        claim = writer.claim
        # The state may have changed between the search and the claim.
        record = self._persist(lambda: read_record(claim.reconstruction))
        if record.state not in (State.QUEUED, State.RUNNING):
            self._persist(claim.release)
            return
        if self._persist(writer.cancel_requested):
            self._cancelled(writer)
            return
        crashes = self._persist(lambda: crashes_before(claim.reconstruction, claim.attempt))
        limit = self._settings.conductor.max_crashes
        self._persist(lambda: writer.enter(State.RUNNING))
        if crashes >= limit:
            raise EngineError(
                f"{crashes} conductors in a row died of this reconstruction; see {self._log_file}"
            )
        job = Job(self._root, record, writer, self._settings, self._shutdown)
        with JobWatch(writer, self._shutdown) as watch:
            try:
                reconstruct(job, watch)
                ended = None
            except CancelledError:
                ended = watch.reason
        self._after(writer, ended)

    def _after(self, writer: ReconstructionWriter, ended: StopReason | None) -> None:
        """Leave the node as the way the work ended demands."""
        path = writer.claim.path
        if ended is StopReason.CANCELLED:
            self._cancelled(writer)
        elif ended is StopReason.SHUTDOWN:
            logger.info("%s: given back, the conductor stops", path)
            writer.claim.release()
        elif ended is StopReason.LOST:
            logger.warning("%s: left to whoever has it now", path)
        else:
            self._persist(writer.claim.release)

    def _cancelled(self, writer: ReconstructionWriter) -> None:
        logger.info("%s: cancelled", writer.claim.path)
        self._persist(lambda: writer.enter(State.CANCELLED, "cancelled by a user"))
        self._persist(writer.forget_cancel)
        self._persist(writer.claim.release)

    def _give_up(self, writer: ReconstructionWriter, message: str) -> None:
        try:
            self._persist(lambda: writer.enter(State.FAILED, message))
            self._persist(writer.claim.release)
        except CatalogError as error:
            logger.warning("%s: the failure could not be recorded: %s", writer.claim.path, error)

    def _persist(self, action: Callable[[], Result]) -> Result:
        return persistently(action, self._shutdown)
