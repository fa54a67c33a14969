"""Looking for reconstructions, claiming them, and what becomes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tiled.client.container import Container

from tomoservice.catalog import names
from tomoservice.catalog.claims import Claim, Worker, crashes_before, try_claim
from tomoservice.catalog.nodes import check_reconstruction, find_in_state, read_record, reread
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import FaultError, NotAllowedError, NotFoundError, connect, disconnect
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.conductor.job import Job, load_libraries, reconstruct, store_folder
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
from tomoservice.store import attempts_with_slabs

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 15.0
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
        log_file: str = "the log",
        readable: Sequence[Path] | None = None,
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._settings = settings
        self._log_file = log_file
        self._readable = readable
        self._worker = Worker()
        self._shutdown = threading.Event()
        self._root: Any = None
        self._aside: dict[str, float] = {}

    def stop(self) -> None:
        """Ask the conductor to stop; work in progress is given back within about a second."""
        self._shutdown.set()

    def close(self) -> None:
        """Close the connection to the service."""
        if self._root is not None:
            disconnect(self._root)
            self._root = None

    def run(self) -> None:
        """Work until `stop` is called. A service that does not answer is waited for.

        Raises
        ------
        NotAllowedError
            The service does not accept the key.
        """
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
            except NotAllowedError:
                raise
            except Exception:
                # The boundary of what belongs to no reconstruction: one odd answer must not end the work.
                pause = min(2 * pause or 0.5, LONGEST_PAUSE_S)
                logger.exception("unexpected error; trying again in %g s", pause)
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
        # Whoever worked on a running one may have died.
        for node in find_in_state(self._root, State.QUEUED, State.RUNNING):
            if self._shutdown.is_set():
                return False
            claim = self._claim(node)
            if claim is not None:
                self._work(claim)
                return True
        return False

    def _claim(self, node: Any) -> Claim | None:
        """Claim a node if possible; one that makes trouble must not keep the others waiting."""
        path = "/".join(node.path_parts)
        if time.monotonic() < self._aside.get(path, 0.0):
            return None
        try:
            _check_place(node)
            return try_claim(node, self._worker, self._settings.conductor.lease_s)
        except NotFoundError:
            # Deleted since the search.
            return None
        except (CatalogError, FaultError, ValueError, LookupError) as error:
            self._set_aside(path, error)
            return None

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
                self._give_up(writer, str(error))
        except ServiceUnavailableError:
            # Only while stopping; the lease runs out and another conductor goes on.
            raise
        except TomoserviceError as error:
            self._give_up(writer, str(error))
        except Exception as error:
            logger.exception("%s: attempt %d: unexpected error", claim.path, claim.attempt)
            self._give_up(
                writer,
                f"unexpected {type(error).__name__}: {error}; the traceback is in {self._log_file}, "
                f"search for {claim.path}",
            )

    def _drive(self, writer: ReconstructionWriter) -> None:
        claim, node = writer.claim, writer.claim.reconstruction
        # Much may have changed between the search and the claim.
        self._persist(partial(reread, node))
        try:
            check_reconstruction(node)
        except CatalogError as error:
            self._record_failure(writer, partial(writer.reject, str(error)), str(error))
            return
        record = ReconstructionRecord.from_node(node)
        if record.state not in (State.QUEUED, State.RUNNING):
            self._persist(claim.release)
            return
        if self._persist(writer.cancel_requested):
            self._cancelled(writer)
            return
        fruitful = attempts_with_slabs(store_folder(self._settings, record))
        crashes = self._persist(lambda: crashes_before(node, claim.attempt, fruitful))
        self._persist(lambda: writer.enter(State.RUNNING))
        if crashes >= self._settings.conductor.max_crashes:
            raise EngineError(
                f"{crashes} conductors in a row died of this reconstruction; see {self._log_file}"
            )
        self._reconstruct(writer)

    def _reconstruct(self, writer: ReconstructionWriter) -> None:
        # Read again: only while it is running can the recipe not be changed.
        record = self._persist(lambda: read_record(writer.claim.reconstruction))
        job = Job(self._root, record, writer, self._settings, self._readable)
        final: Progress | None = None
        with JobWatch(writer, self._shutdown) as watch:
            try:
                final = reconstruct(job, watch)
            except CancelledError as error:
                logger.info("%s: %s", writer.claim.path, error)
        if final is not None:
            # After the watch, which might show earlier progress; without patience, because all is done.
            self._once(writer, partial(writer.progress, final))
            self._persist(writer.claim.release)
        elif watch.reason is StopReason.CANCELLED:
            self._cancelled(writer)
        elif watch.reason is StopReason.LOST:
            self._leave(writer, "the claim is lost")
        else:
            logger.info("%s: given back, the conductor stops", writer.claim.path)
            self._once(writer, partial(writer.enter, State.QUEUED, "given back: the conductor was stopped"))
            self._once(writer, writer.claim.release)

    def _leave(self, writer: ReconstructionWriter, reason: str) -> None:
        """Leave a reconstruction to whoever has it now; a worker that knows of it has not died of it."""
        logger.warning("%s: given up: %s", writer.claim.path, reason)
        self._once(writer, writer.claim.release)

    def _cancelled(self, writer: ReconstructionWriter) -> None:
        logger.info("%s: cancelled", writer.claim.path)
        # In this order: once it is cancelled it may be queued again, and a new request is not the one we saw.
        self._persist(writer.forget_cancel)
        self._persist(lambda: writer.enter(State.CANCELLED, "cancelled by a user"))
        self._persist(writer.claim.release)

    def _give_up(self, writer: ReconstructionWriter, message: str) -> None:
        self._record_failure(writer, partial(writer.enter, State.FAILED, message), message)

    def _record_failure(self, writer: ReconstructionWriter, record: Callable[[], None], message: str) -> None:
        path = writer.claim.path
        logger.warning("%s: failed: %s", path, message)
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


def _check_place(node: Any) -> None:
    path = "/".join(node.path_parts)
    if not all(names.is_key(key) for key in node.path_parts[-2:]):
        raise CatalogError(f"{path} cannot be reconstructed: keys must match {names.KEY_PATTERN}")
    if not isinstance(node, Container):
        raise CatalogError(f"{path} is no reconstruction: it is no container")
