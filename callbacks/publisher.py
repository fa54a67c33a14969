"""A document callback that brings runs into Tiled without ever holding a scan up."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from callbacks.encoding import decode
from callbacks.journal import SUFFIX, Journal, find_journals
from callbacks.membership import RunMembership
from callbacks.publication import NOTES
from callbacks.publishing import Publishing
from callbacks.raw_runs import RawRuns
from callbacks.repeats import Repeats
from callbacks.spooling import SpoolingCallback
from tomoservice.catalog.names import RAW, is_key

logger = logging.getLogger(__name__)

MOST_OPEN_RUNS = 100
"""Runs whose stop document is awaited; of more than that the oldest will never stop."""
GOES_ON_S = 86400.0
"""Age from which a journal without a stop document belongs to a run that does not go on any more."""
AT_EXIT_S = 30.0
NEEDED = ("bluesky_tiled_plugins", "tomoservice.catalog.transport")


class RunPublisher(SpoolingCallback):
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
        How many events are sent together, of a run that is over or behind. What goes on is sent as it comes.
    go_on : bool
        Whether runs of which an earlier process has kept the beginning go on here, as they do where documents
        come from elsewhere. A run does not outlive the process of its RunEngine.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None = None,
        *,
        spool: Path | str,
        raw_path: str = RAW,
        batch_size: int = 20,
        go_on: bool = False,
    ) -> None:
        # Now rather than when the first run begins: it takes seconds, and at exit nothing can be imported.
        for module in NEEDED:
            import_module(module)
        self._folder = Path(spool).expanduser().resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._membership = RunMembership()
        self._repeats = Repeats()
        self._open: dict[str, Journal] = {}
        self._lock = threading.Lock()
        self._disk_failed = False
        self._goes_on = go_on
        # Before the thread begins, which would publish them as they are.
        begun = self._take_up() if go_on else []
        self._publishing = Publishing(self._folder, RawRuns(uri, api_key, raw_path), batch_size)
        for journal in begun:
            self._publishing.add(journal)
        # A script may end right after its scan.
        atexit.register(self.close, AT_EXIT_S)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep a document."""
        try:
            # Documents of interleaved runs may come from several threads.
            with self._lock:
                journal = self._keep(name, doc)
                if journal is not None and journal.stopped:
                    self._end(journal.uid)
        except Exception:
            logger.warning("a %s document could not be kept; it will not be published", name, exc_info=True)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep a document; for whoever can bring it again later.

        Raises
        ------
        OSError
            It cannot be written to disk now.
        KeyError, TypeError, ValueError, RecursionError
            It cannot be kept at all.
        """
        with self._lock:
            journal = self._keep(name, doc)
            if journal is None:
                return
            # In memory it is already, also if it comes again.
            journal.flush()
            if journal.stopped:
                self._end(journal.uid)

    def is_settled(self) -> bool:
        """Tell whether every run that has ended is complete in Tiled."""
        return self._publishing.is_settled()

    def close(self, timeout_s: float = 60.0) -> None:
        """Publish what can be published now, and end the thread. The rest stays on disk."""
        atexit.unregister(self.close)
        self._publishing.close(timeout_s)
        if self._goes_on:
            with self._lock:
                for journal in self._open.values():
                    journal.close()
                self._open.clear()

    def _keep(self, name: str, doc: Mapping[str, Any]) -> Journal | None:
        """Keep a document, in memory if the disk refuses; return the open journal of its run, if there is."""
        uid = self._membership.run_of(name, doc)
        if uid is None and name == "stop":
            # Known no more, but perhaps not on disk.
            uid = str(doc["run_start"])
            return self._open.get(uid)
        if uid is None:
            logger.debug("a %s document belongs to no run that is known; it is not published", name)
            return None
        if self._repeats.has_seen(uid, name, doc):
            # Subscribed twice, or a document delivered twice.
            if uid not in self._open:
                self._membership.forget(uid)
            return self._open.get(uid)
        if name == "start" and not self._begin(uid):
            return None
        journal = self._open.get(uid)
        if journal is not None and self._write(journal, name, doc):
            if name == "start":
                self._publishing.add(journal)
            self._publishing.wake(journal)
            return journal
        return None

    def _write(self, journal: Journal, name: str, doc: Mapping[str, Any]) -> bool:
        """Write a document; tell whether the journal is ours."""
        try:
            journal.append(name, doc)
            self._disk_failed = False
        except FileExistsError:
            logger.warning(
                "run %s has a journal in %s already and is not kept twice", journal.uid, self._folder
            )
            self._forget(journal.uid)
            del self._open[journal.uid]
            return False
        except OSError as error:
            if not self._disk_failed:
                logger.warning("%s; documents stay in memory until they can be written", error)
            self._disk_failed = True
        return True

    def _end(self, uid: str) -> None:
        self._open.pop(uid, None)
        self._repeats.end(uid)

    def _forget(self, uid: str) -> None:
        self._membership.forget(uid)
        self._repeats.forget(uid)

    def _take_up(self) -> list[Journal]:
        """Return the journals that an earlier process left behind; runs that go on are open from now on."""
        taken = []
        for path in find_journals(self._folder):
            try:
                is_recent = time.time() - path.stat().st_mtime < GOES_ON_S
                journal = Journal.take_up(path) if is_recent else None
            except OSError:
                # The thread tries again, and says so.
                continue
            if journal is None:
                continue
            taken.append(journal)
            if not journal.stopped:
                journal.ended = False
                self._open[journal.uid] = journal
                self._learn(journal)
                logger.info("run %s was begun by another process and goes on here", journal.uid)
        return taken

    def _learn(self, journal: Journal) -> None:
        """Learn from the documents of a run which others belong to it, and which are there already."""
        position = 0
        while lines := journal.read(position):
            for line in lines:
                position += len(line)
                with suppress(KeyError, TypeError, ValueError):
                    name, doc = decode(line)
                    if name not in NOTES and self._membership.run_of(name, doc) == journal.uid:
                        self._repeats.has_seen(journal.uid, name, doc)

    def _begin(self, uid: str) -> bool:
        if not is_key(uid):
            self._forget(uid)
            logger.warning("run %r is not published: its uid cannot be a key in Tiled", uid)
            return False
        while len(self._open) >= MOST_OPEN_RUNS:
            oldest = next(iter(self._open))
            self._forget(oldest)
            self._give_up(self._open.pop(oldest))
        self._open[uid] = Journal(self._folder / f"{uid}{SUFFIX}")
        return True

    def _give_up(self, journal: Journal) -> None:
        logger.warning("run %s has not ended for long; it is published as it is", journal.uid)
        journal.ended = True
        self._publishing.wake(journal)
