"""Looking for reconstructions, claiming them, and what becomes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tomoservice.catalog.claims import Claim, Worker, crashes_before, try_claim
from tomoservice.catalog.controls import Verb, Wishes
from tomoservice.catalog.nodes import (
    check_place,
    check_reconstruction,
    find_not_followed_up,
    read_record,
    reread,
)
from tomoservice.catalog.queue import UNFINISHED, find_waiting
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.catalog.steering import ended_message, move
from tomoservice.catalog.transport import NotAllowedError, NotFoundError, connect, disconnect, probe
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.compute.base import Computer
from tomoservice.compute.local import LocalComputer
from tomoservice.conductor.follow_up import failed_follow_up, follow_up
from tomoservice.conductor.job import Job, load_libraries, reconstruct, store_folder
from tomoservice.conductor.listening import Listener
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.remains import keep_stopped, kept_part
from tomoservice.conductor.watch import JobWatch, StopReason
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ClaimLostError,
    EngineError,
    FaultError,
    OutputError,
    ServiceUnavailableError,
    TomoserviceError,
)
from tomoservice.housekeeping.sweep import sweep
from tomoservice.settings import Settings
from tomoservice.store import attempts_with_slabs

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 15.0
FOLLOW_UPS_S = 30.0
"""How often an idle conductor looks for what was interrupted after a volume was done, unless leases are
shorter: it would ask the service as often again as for what is queued, and nobody waits for it."""
AFTER_S = (0.03, 0.1, 0.3)
"""Pauses before the looks that follow when somebody is queuing something: it stands in the catalogue a moment
later."""
ASIDE_S = 60.0
"""How long a node that makes trouble is left alone."""

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
    computer : Computer, optional
        Who computes; threads of this process by default.
    log_file : str
        Where a user finds the traceback of an unexpected error.
    readable : sequence of Path, optional
        Folders below which raw files may be read directly; all that the process may read by default.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None,
        settings: Settings,
        *,
        computer: Computer | None = None,
        log_file: str = "the log",
        readable: Sequence[Path] | None = None,
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._settings = settings
        self._computer = computer or LocalComputer()
        self._log_file = log_file
        self._readable = readable
        self._worker = Worker()
        self._shutdown = threading.Event()
        self._waking = threading.Event()
        self._root: Any = None
        self._aside: dict[str, float] = {}
        self._next_sweep = 0.0
        self._next_follow_ups = 0.0

    def stop(self) -> None:
        """Ask the conductor to stop; work in progress is given back within about a second."""
        self._shutdown.set()
        self._waking.set()

    def wake(self) -> None:
        """Look soon: somebody is queuing something."""
        self._waking.set()

    def close(self) -> None:
        """Close the connection to the service, and leave the place of work."""
        self._computer.close()
        if self._root is not None:
            disconnect(self._root)
            self._root = None

    def wait_for_service(self) -> None:
        """Return when the service answers, or when the conductor is stopped."""
        pause = 0.5
        while not self._shutdown.is_set():
            try:
                probe(self._uri)
            except ServiceUnavailableError as error:
                logger.info("%s; trying again in %g s", error, pause)
                self._shutdown.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                return

    def run(self) -> None:
        """Work until `stop` is called. A service that does not answer is waited for.

        Raises
        ------
        NotAllowedError
            The service does not accept the key.
        """
        pause = 0.0
        idle_before = False
        soon: Iterator[float] = iter(())
        while not self._shutdown.is_set():
            try:
                worked = self.step()
                pause = 0.0 if worked else next(soon, self._settings.conductor.poll_s)
                if not worked and not idle_before:
                    idle_before = True
                    load_libraries()
                if not worked:
                    self._sweep_if_due()
            except ServiceUnavailableError as error:
                pause = min(2 * pause or 0.5, LONGEST_PAUSE_S)
                logger.warning("%s; trying again in %g s", error, pause)
            except NotAllowedError:
                raise
            except Exception:
                # The boundary of what belongs to no reconstruction: one odd answer must not end the work.
                pause = min(2 * pause or 0.5, LONGEST_PAUSE_S)
                logger.exception("unexpected error; trying again in %g s", pause)
            if self._waking.wait(pause):
                self._waking.clear()
                soon = iter(AFTER_S[1:])
                self._shutdown.wait(AFTER_S[0])
        self.close()

    def step(self) -> bool:
        """Work on the first reconstruction that can be claimed; tell whether there was one.

        All that is only to be ended or put aside is done at once: a search for each would take hours for a
        large batch that is cancelled.

        Raises
        ------
        ServiceUnavailableError
            The service does not answer.
        """
        if self._root is None:
            self._root = connect(self._uri, self._api_key)
            logger.info("conductor of %s at work", self._uri)
        worked = False
        for waiting in find_waiting(self._root):
            if self._shutdown.is_set():
                return False
            is_to_be_computed = waiting.wishes.verb is None
            if worked and is_to_be_computed:
                # The search was a while ago.
                return True
            claim = self._claim(waiting.node)
            if claim is not None:
                self._work(claim)
                worked = True
                if is_to_be_computed:
                    return True
        return worked or self._follow_one_up()

    def _follow_one_up(self) -> bool:
        """Make what follows a volume that is done if whoever began it was interrupted."""
        if time.monotonic() < self._next_follow_ups:
            return False
        self._next_follow_ups = time.monotonic() + min(FOLLOW_UPS_S, self._settings.conductor.lease_s)
        for node in find_not_followed_up(self._root):
            claim = None if self._shutdown.is_set() else self._claim(node)
            if claim is not None:
                # There may be more.
                self._next_follow_ups = 0.0
                self._work(claim)
                return True
        return False

    def _sweep_if_due(self) -> None:
        period_s = self._settings.housekeeping.sweep_s
        if not period_s or time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + period_s
        try:
            sweep(self._root, self._settings)
        except (CatalogError, OutputError, OSError) as error:
            logger.warning("nothing is swept: %s", error)

    def _claim(self, node: Any) -> Claim | None:
        """Claim a node if possible; one that makes trouble must not keep the others waiting."""
        path = "/".join(node.path_parts)
        if self._is_aside(path):
            return None
        try:
            check_place(node)
            return try_claim(node, self._worker, self._settings.conductor.lease_s)
        except NotFoundError:
            # Deleted since the search.
            return None
        except (CatalogError, FaultError, ValueError, LookupError) as error:
            self._set_aside(path, error)
            return None

    def _is_aside(self, path: str) -> bool:
        return time.monotonic() < self._aside.get(path, 0.0)

    def _set_aside(self, path: str, error: Exception) -> None:
        # Every minute would fill the log.
        level = logging.DEBUG if path in self._aside else logging.WARNING
        logger.log(level, "%s: left alone: %s", path, error)
        self._aside[path] = time.monotonic() + ASIDE_S

    def _work(self, claim: Claim) -> None:
        """Bring a claimed reconstruction to an end, whatever happens."""
        writer = ReconstructionWriter(claim)
        logger.info("%s: attempt %d", claim.path, claim.attempt)
        try:
            self._drive(writer)
        except ClaimLostError as error:
            self._leave(writer, str(error))
        except NotFoundError as error:
            if self._is_deleted(claim):
                logger.warning("%s: given up, it has been deleted", claim.path)
            else:
                self._give_up(writer, str(error), error)
        except ServiceUnavailableError:
            # Only while stopping; the lease runs out and another conductor goes on.
            raise
        except TomoserviceError as error:
            self._give_up(writer, str(error), error)
        except Exception as error:
            logger.exception("%s: attempt %d: unexpected error", claim.path, claim.attempt)
            self._give_up(
                writer,
                f"unexpected {type(error).__name__}: {error}; the traceback is in {self._log_file} on "
                f"{self._worker.host}, search for {claim.path}",
            )

    def _drive(self, writer: ReconstructionWriter) -> None:
        claim, node = writer.claim, writer.claim.reconstruction
        # Much may have changed between the search and the claim.
        self._persist(partial(reread, node))
        try:
            check_reconstruction(node)
        except CatalogError as error:
            self._record_failure(writer, partial(writer.reject, str(error)), str(error), error)
            return
        record = ReconstructionRecord.from_node(node)
        if record.metadata.wanted_follow_ups:
            self._follow_up(writer, record)
            return
        listener = self._persist(partial(self._listener, node, record))
        wishes = self._persist(listener.hear).wishes
        if wishes.verb is Verb.STOP and record.state in UNFINISHED:
            self._stop(writer, record, wishes)
            return
        if record.state not in UNFINISHED or self._persist(partial(move, writer, record, wishes)):
            self._persist(claim.release)
            return
        fruitful = attempts_with_slabs(store_folder(self._settings, record))
        crashes = self._crashes(claim, fruitful)
        if crashes >= self._settings.conductor.max_crashes:
            raise EngineError(
                f"{crashes} conductors in a row died of this reconstruction; see {self._log_file}"
            )
        self._reconstruct(writer, record, listener)

    def _listener(self, node: Any, record: ReconstructionRecord) -> Listener:
        return Listener(self._root, node, record, self._settings.conductor.poll_s, self._is_aside)

    def _reconstruct(
        self, writer: ReconstructionWriter, record: ReconstructionRecord, listener: Listener
    ) -> None:
        job = self._job(writer, record)
        final: Progress | None = None
        with JobWatch(writer, self._shutdown, listener) as watch:
            try:
                final = reconstruct(job, watch)
                follow_up(job, watch)
            except CancelledError as error:
                logger.info("%s: %s", writer.claim.path, error)
        if final is not None:
            # After the watch, which might show earlier progress; without patience, because all is done.
            self._once(writer, partial(writer.progress, final))
            self._persist(writer.claim.release)
        else:
            self._interrupted(writer, record, watch)

    def _interrupted(
        self, writer: ReconstructionWriter, record: ReconstructionRecord, watch: JobWatch
    ) -> None:
        """Leave a reconstruction as is wanted; the slabs that exist are kept in any case."""
        match watch.reason:
            case StopReason.LOST:
                self._leave(writer, "the claim is lost")
            case StopReason.STOPPED:
                self._stop(writer, record, watch.heard.wishes)
            case StopReason.CANCELLED | StopReason.PAUSED:
                now = self._persist(lambda: read_record(writer.claim.reconstruction))
                self._persist(partial(move, writer, now, watch.heard.wishes))
                self._persist(writer.claim.release)
            case StopReason.YIELDED:
                self._give_back(writer, f"{watch.heard.before} is more urgent")
            case _:
                self._give_back(writer, "the conductor was stopped")

    def _give_back(self, writer: ReconstructionWriter, why: str) -> None:
        logger.info("%s: given back: %s", writer.claim.path, why)
        self._once(writer, partial(writer.enter, State.QUEUED, f"given back: {why}"))
        self._once(writer, writer.claim.release)

    def _follow_up(self, writer: ReconstructionWriter, record: ReconstructionRecord) -> None:
        # Whoever computed slabs died after the volume was done.
        fruitful = attempts_with_slabs(store_folder(self._settings, record))
        node, crashes = writer.claim.reconstruction, self._crashes(writer.claim, fruitful)
        if crashes >= self._settings.conductor.max_crashes:
            message = f"{crashes} conductors in a row died of it; see {self._log_file}"
            self._persist(partial(writer.describe, failed_follow_up(record, message)))
        else:
            listener = self._persist(partial(self._listener, node, record))
            with JobWatch(writer, self._shutdown, listener) as watch:
                follow_up(self._job(writer, record), watch)
            self._once(writer, partial(writer.progress, watch.progress))
        self._persist(writer.claim.release)

    def _crashes(self, claim: Claim, fruitful: Container[int]) -> int:
        """Return how many conductors in a row died of what is claimed, without having got anywhere."""
        if claim.attempt == 1:
            return 0
        return self._persist(lambda: crashes_before(claim.reconstruction, claim.attempt, fruitful))

    def _job(self, writer: ReconstructionWriter, record: ReconstructionRecord) -> Job:
        return Job(record, writer, self._settings, self._computer, self._uri, self._api_key, self._readable)

    def _leave(self, writer: ReconstructionWriter, reason: str) -> None:
        """Leave a reconstruction to whoever has it now; a worker that knows of it has not died of it."""
        logger.warning("%s: given up: %s", writer.claim.path, reason)
        self._once(writer, writer.claim.release)

    def _stop(self, writer: ReconstructionWriter, record: ReconstructionRecord, wishes: Wishes) -> None:
        """End a reconstruction, and say what there is of its volume."""
        record = self._persist(lambda: read_record(writer.claim.reconstruction))
        if record.state in FINAL_STATES:
            # Its end was stored already, by an attempt whose answer was lost.
            self._persist(writer.claim.release)
            return
        folder = store_folder(self._settings, record)
        kept = kept_part(folder, record)
        message = ended_message("stopped", record, wishes)
        content = {} if kept is None else {"partial": kept}
        message += "; nothing had been computed" if kept is None else f"; {kept['text']}"
        logger.info("%s: %s", writer.claim.path, message)
        if kept is not None:
            try:
                self._persist(partial(keep_stopped, folder, writer.claim.reconstruction, kept))
            except OutputError as error:
                # What there is stays readable all the same, as long as the catalogue is there.
                logger.warning("%s: %s", writer.claim.path, error)
        end = partial(writer.end, State.CANCELLED, message, content, ended_by=wishes.ended_by)
        self._persist(end)
        self._persist(writer.claim.release)

    def _give_up(
        self, writer: ReconstructionWriter, message: str, cause: TomoserviceError | None = None
    ) -> None:
        self._record_failure(writer, partial(writer.end, State.FAILED, message), message, cause)

    def _record_failure(
        self,
        writer: ReconstructionWriter,
        record: Callable[[], None],
        message: str,
        cause: TomoserviceError | None,
    ) -> None:
        path = writer.claim.path
        # A message for users may not say enough to whoever looks after the service.
        logger.warning("%s: failed: %s", path, message, exc_info=cause)
        try:
            self._persist(record)
            self._persist(writer.claim.release)
        except CatalogError as error:
            self._set_aside(path, error)

    def _is_deleted(self, claim: Claim) -> bool:
        try:
            self._persist(partial(reread, claim.reconstruction))
        except NotFoundError:
            return True
        return False

    def _once(self, writer: ReconstructionWriter, action: Callable[[], None]) -> None:
        """Do what is good to do but not worth waiting for the service."""
        try:
            action()
        except (CatalogError, ServiceUnavailableError) as error:
            logger.info("%s: %s", writer.claim.path, error)

    def _persist(self, action: Callable[[], Result]) -> Result:
        return persistently(action, self._shutdown.is_set)
