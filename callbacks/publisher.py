"""A document callback that brings runs into Tiled without ever holding a scan up."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callbacks.impatience import RawRuns
from callbacks.journal import SUFFIX, Journal
from callbacks.membership import RunMembership
from callbacks.publishing import Publishing
from tomoservice.catalog.names import RAW, is_key

logger = logging.getLogger(__name__)

MOST_OPEN_RUNS = 100
"""Runs whose stop document is awaited; of more than that the oldest will never stop."""
AT_EXIT_S = 30.0
NEEDED = ("bluesky_tiled_plugins", "tomoservice.catalog.transport")


class RunPublisher:
    """Publishes every run in Tiled as Bluesky's TiledWriter does, from a journal on disk.

    Subscribe it to a RunEngine in the place of TiledWriter. It writes each document into the journal of
    its run, which is all that the RunEngine waits for; a thread sends the documents on while the run
    goes on. With the service down the scan goes on, and the run is published when the service is back,
    by this process or by the next one with the same spool. A journal is removed when its run is complete
    in Tiled.

    Whatever happens inside, nothing is raised into the RunEngine and no document is changed.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write; by default ``TILED_API_KEY`` from the environment.
    spool : Path or str
        Folder for the journals, on a disk of this machine; it may be a ReconstructionTrigger's.
    raw_path : str
        Container of the runs.
    batch_size : int
        How many events or frames are sent together.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None = None,
        *,
        spool: Path | str,
        raw_path: str = RAW,
        batch_size: int = 20,
    ) -> None:
        # Now rather than when the first run begins: it takes seconds, and at exit nothing can be imported.
        for module in NEEDED:
            import_module(module)
        self._folder = Path(spool).expanduser().resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._membership = RunMembership()
        self._open: dict[str, Journal] = {}
        self._lock = threading.Lock()
        self._disk_failed = False
        self._publishing = Publishing(self._folder, RawRuns(uri, api_key, raw_path), batch_size)
        # A script may end right after its scan.
        atexit.register(self.close, AT_EXIT_S)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep a document."""
        try:
            # Documents of interleaved runs may come from several threads.
            with self._lock:
                self._keep(name, doc)
        except Exception:
            logger.warning("a %s document could not be kept; it will not be published", name, exc_info=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every run that has ended is complete in Tiled; tell whether that is so."""
        deadline = time.monotonic() + timeout_s
        while not self._publishing.is_settled():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self, timeout_s: float = 60.0) -> None:
        """Publish what can be published now, and end the thread. The rest stays on disk."""
        atexit.unregister(self.close)
        self._publishing.close(timeout_s)

    def _keep(self, name: str, doc: Mapping[str, Any]) -> None:
        uid = self._membership.run_of(name, doc)
        if uid is None:
            logger.debug("a %s document belongs to no run that is known; it is not published", name)
            return
        if name == "start" and not self._begin(uid):
            return
        journal = self._open.get(uid)
        if journal is None:
            return
        try:
            journal.append(name, doc)
            self._disk_failed = False
        except FileExistsError:
            logger.warning("run %s has a journal in %s already and is not kept twice", uid, self._folder)
            self._membership.forget(uid)
            del self._open[uid]
            return
        except OSError as error:
            if not self._disk_failed:
                logger.warning("%s; documents stay in memory until they can be written", error)
            self._disk_failed = True
        finally:
            if name == "stop":
                self._open.pop(uid, None)
        if name == "start":
            self._publishing.add(journal)
        self._publishing.wake(journal)

    def _begin(self, uid: str) -> bool:
        if uid in self._open:
            # Subscribed twice, or a document delivered twice.
            return False
        if not is_key(uid):
            self._membership.forget(uid)
            logger.warning("run %r is not published: its uid cannot be a key in Tiled", uid)
            return False
        while len(self._open) >= MOST_OPEN_RUNS:
            oldest = next(iter(self._open))
            self._membership.forget(oldest)
            self._give_up(self._open.pop(oldest))
        self._open[uid] = Journal(self._folder / f"{uid}{SUFFIX}")
        return True

    def _give_up(self, journal: Journal) -> None:
        logger.warning("run %s has not ended for long; it is published as it is", journal.uid)
        journal.ended = True
        self._publishing.wake(journal)
