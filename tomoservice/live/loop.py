"""Follows every run that begins, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.live_nodes import LiveNode, end_orphans, forget_oldest
from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.run_watch import RunChange, RunEvent, RunWatch
from tomoservice.catalog.transport import child, connect, disconnect
from tomoservice.errors import TomoserviceError
from tomoservice.freed_memory import give_back_freed_memory
from tomoservice.live.manners import Carefree, Manners
from tomoservice.live.memory import LiveMemory
from tomoservice.live.scan import LiveScan, Pace
from tomoservice.live.sources import Finding
from tomoservice.live.waiting import WaitingRoom
from tomoservice.settings import LiveSettings

logger = logging.getLogger(__name__)

JOIN_S = 12.0
"""How long the scans together may take to end: the service kills this process after 15 s."""
LATE_S = 60.0
"""A run that began so long ago and has no end may be dead; it is followed once something comes."""
LOOK_S = 0.5
TIDY_EVERY_S = 60.0


class LiveLoop:
    """Reconstructs runs while they go on.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write.
    settings : LiveSettings
        How quickly, and how many at once.
    readable : tuple of Path
        Folders below which raw files are read directly.
    manners : Manners, optional
        Told which scans go on.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None,
        settings: LiveSettings,
        readable: tuple[Path, ...],
        manners: Manners | None = None,
    ) -> None:
        self._uri, self._api_key = uri, api_key
        self._settings = settings
        self._readable = readable
        self._manners = manners or Carefree()
        self._memory = LiveMemory()
        self._scans: dict[str, tuple[LiveScan | None, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._places = threading.Semaphore(settings.at_once)
        self._room = WaitingRoom(Finding(readable), self._begin)
        self._watch: RunWatch | None = None

    def run(self) -> None:
        """Follow runs until `stop` is called."""
        waiting = threading.Thread(target=self._wait, name="live-waiting")
        waiting.start()
        with RunWatch(self._uri, self._api_key, poll_s=self._settings.poll_s) as watch:
            self._watch = watch
            if not self._stopping.is_set():
                for change in watch:
                    self._hear(change)
        self._join()
        waiting.join(JOIN_S)

    def stop(self) -> None:
        """End, soon."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.stop()
        with self._lock:
            scans = [scan for scan, _ in self._scans.values()]
        for scan in scans:
            if scan is not None:
                scan.stop()

    def _hear(self, change: RunChange) -> None:
        if change.kind is RunEvent.ENDED:
            self._room.forget(change.uid)
            return
        # A run that is published when it is over already has no use for a live reconstruction.
        if change.stop is not None:
            return
        said = change.start.get("time")
        began = float(said) if isinstance(said, int | float) else time.time()
        if time.time() - began > LATE_S:
            self._room.put(change.uid, began)
        else:
            self._begin(change.uid)

    def _begin(self, run_uid: str) -> None:
        with self._lock:
            if self._stopping.is_set() or run_uid in self._scans:
                return
            thread = threading.Thread(target=self._follow, args=(run_uid,), name=f"live-{run_uid[:8]}")
            self._scans[run_uid] = (None, thread)
            thread.start()

    def _follow(self, run_uid: str) -> None:
        root: Any = None
        scan: LiveScan | None = None
        try:
            with self._places:
                if self._stopping.is_set():
                    return
                root = connect(self._uri, self._api_key)
                scan = self._reconstruct(root, run_uid)
        except TomoserviceError as error:
            logger.warning("run %s: no live reconstruction any more: %s", run_uid, error)
        except Exception:
            # The thread's boundary: a run that makes trouble must not end the others.
            logger.exception("run %s: the live reconstruction failed", run_uid)
        finally:
            if root is not None:
                disconnect(root)
            with self._lock:
                self._scans.pop(run_uid, None)
            give_back_freed_memory()
        if scan is not None and scan.went_silent:
            # It may only pause: a plan that waits, flats that take long.
            self._room.put(run_uid, time.time(), scan.extent)

    def _reconstruct(self, root: Any, run_uid: str) -> LiveScan:
        """Follow a run to its end, or until nothing has come for long."""
        run = find_run(root, run_uid)
        node = LiveNode(root, run_uid)
        with self._lock:
            followed = set(self._scans)
        forget_oldest(root, self._settings.kept, spared=followed)
        finding = Finding(self._readable, child(root, names.RAW))
        settings = self._settings
        pace = Pace(settings.update_s, settings.patience_s, settings.threads)
        scan = LiveScan(run, node, finding, self._memory, pace, self._manners)
        with self._lock:
            self._scans[run_uid] = (scan, threading.current_thread())
        if self._stopping.is_set():
            scan.stop()
        scan.run()
        return scan

    def _wait(self) -> None:
        """Look at runs that may go on, and end what nobody follows any more."""
        root: Any = None
        tidy = 0.0
        while not self._stopping.wait(LOOK_S):
            try:
                root = root or connect(self._uri, self._api_key)
                if time.monotonic() >= tidy:
                    with self._lock:
                        followed = set(self._scans)
                    end_orphans(root, followed, self._settings.patience_s)
                    tidy = time.monotonic() + TIDY_EVERY_S
                self._room.look(root)
            except TomoserviceError as error:
                logger.debug("nobody is looked at: %s", error)
            except Exception:
                # The thread's boundary: what is odd about one run must not keep the others waiting for ever.
                logger.exception("looking at runs that wait failed")
                self._stopping.wait(TIDY_EVERY_S)
        if root is not None:
            disconnect(root)

    def _join(self) -> None:
        with self._lock:
            threads = [thread for _, thread in self._scans.values()]
        until = time.monotonic() + JOIN_S
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
