"""Runs without an end that may go on, or may be dead: they are looked at until something changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.transport import NotFoundError
from tomoservice.errors import TomoserviceError
from tomoservice.live.hearing import extent
from tomoservice.live.sources import Finding

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 20.0
GROWTH = 1.5
"""How many times longer than before a run is left alone in which nothing has changed."""
MOST = 64
"""Runs that are looked at, the latest."""


@dataclass
class _Guest:
    began: float
    pause: float = FIRST_PAUSE_S
    due: float = field(default_factory=time.monotonic)
    seen: Mapping[str, Any] | None = None


class WaitingRoom:
    """Looks now and then at runs that do not seem to go on, in the caller's thread.

    Parameters
    ----------
    finding : Finding
        Which raw files may be read.
    goes_on : callable
        Called with the uid of a run in which something has changed; it is not looked at any more.
    """

    def __init__(self, finding: Finding, goes_on: Callable[[str], None]) -> None:
        self._finding, self._goes_on = finding, goes_on
        self._guests: dict[str, _Guest] = {}
        self._lock = threading.Lock()

    def put(self, run_uid: str, began: float, seen: Mapping[str, Any] | None = None) -> None:
        """Look at a run from now on.

        Parameters
        ----------
        run_uid : str
            The run.
        began : float
            When it began, in seconds since 1970.
        seen : mapping, optional
            How far it had come when it was looked at before; see `tomoservice.live.hearing.extent`.
        """
        with self._lock:
            self._guests[run_uid] = _Guest(began, seen=seen)
            latest = sorted(self._guests, key=lambda uid: self._guests[uid].began, reverse=True)
            for uid in latest[MOST:]:
                del self._guests[uid]

    def forget(self, run_uid: str) -> None:
        """Look at a run no more."""
        with self._lock:
            self._guests.pop(run_uid, None)

    def look(self, root: Any) -> None:
        """Look at the runs that are due, the latest first."""
        now = time.monotonic()
        with self._lock:
            due = [(uid, guest) for uid, guest in self._guests.items() if guest.due <= now]
        for uid, guest in sorted(due, key=lambda each: each[1].began, reverse=True):
            try:
                found = extent(find_run(root, uid), self._finding)
            except NotFoundError:
                self.forget(uid)
                continue
            except TomoserviceError as error:
                # What has not been seen has not changed.
                logger.debug("run %s: %s", uid, error)
                guest.due = time.monotonic() + guest.pause
                continue
            if found.get("stop"):
                # What there is of it is reconstructed anyway.
                self.forget(uid)
                continue
            if guest.seen is not None and found != guest.seen:
                self.forget(uid)
                self._goes_on(uid)
                continue
            guest.seen = found
            guest.due = time.monotonic() + guest.pause
            guest.pause = min(GROWTH * guest.pause, LONGEST_PAUSE_S)
