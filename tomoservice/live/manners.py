"""When the live reconstruction may use the processor, and when it belongs to others."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Protocol

logger = logging.getLogger(__name__)

SESSION_NICE = Path("/proc/self/autogroup")
"""Where Linux takes the priority of a session. A process's own counts only among those of its session,
and the service gives each of its processes a session."""
USUAL, LAST = 5, 19
"""Priorities while projections come, and when all that is left can wait for the final volume."""
GIVE_WAY_S = 15.0
"""How long the last priority lasts: on a machine that is never idle nothing would end with it."""
TRIES, RETRY_S = 5, 0.12


class Manners(Protocol):
    """Hears which scans are being followed."""

    def enter(self, run_uid: str) -> None:
        """Take note that projections of a run come: what is shown of them is wanted now."""
        ...

    def leave(self, run_uid: str) -> None:
        """Take note that no more come, once or several times."""
        ...


class Carefree:
    """Leaves the priority as it is: for a live reconstruction inside another process."""

    def enter(self, run_uid: str) -> None:
        """See `Manners.enter`."""

    def leave(self, run_uid: str) -> None:
        """See `Manners.leave`."""


class SessionManners:
    """Leaves the processor to all others unless projections come.

    Parameters
    ----------
    file : Path
        Where the session's priority goes; elsewhere than on Linux there is none.
    give_way_s : float
        How long the processor is left to others, at most.
    """

    def __init__(self, file: Path = SESSION_NICE, give_way_s: float = GIVE_WAY_S) -> None:
        self._file = file
        self._give_way_s = give_way_s
        self._timer: threading.Timer | None = None
        self._coming: set[str] = set()
        self._now = 0
        self._lock = threading.Lock()
        self._set(USUAL)

    def enter(self, run_uid: str) -> None:
        """See `Manners.enter`."""
        with self._lock:
            self._coming.add(run_uid)
        self.come_back()

    def leave(self, run_uid: str) -> None:
        """See `Manners.leave`."""
        with self._lock:
            if run_uid not in self._coming:
                return
            self._coming.discard(run_uid)
            if self._coming:
                return
            self._set(LAST)
            self._timer = threading.Timer(self._give_way_s, self.come_back)
            self._timer.daemon = True
            self._timer.start()

    def come_back(self) -> None:
        """Use the processor as usual from now on."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._set(USUAL)

    def _set(self, nice: int) -> None:
        if nice == self._now:
            return
        for _ in range(TRIES):
            try:
                self._file.write_text(str(nice))
            except BlockingIOError:
                # Linux takes such changes ten times a second at most, of all sessions together.
                time.sleep(RETRY_S)
            except OSError as error:
                logger.debug("the session keeps its priority: %s", error)
                return
            else:
                self._now = nice
                return
