"""Ends a worker process whose loop hangs, after it has said where: whoever watches over it starts it again.

A process in which Python's own lock is held by somebody who waits for something else answers nobody, and what
it has in hand would never be done. Dask's scheduler notices after minutes, and nobody learns what happened.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import Any

from tornado.ioloop import PeriodicCallback

HUNG_S = 180.0
"""How long the loop of a worker may do nothing, in seconds. Files on a server that does not answer may hold
it up while they are opened; Dask's scheduler gives a worker up after 300 s."""
ARMS_PER_LIMIT = 12
"""How often the end is put off within that time."""


class HangWatch:
    """Has the process ended by a thread that needs nothing of Python, unless the worker's loop goes round.

    The places at which all threads are go to standard error.

    Parameters
    ----------
    hung_s
        How long the loop may do nothing, in seconds.
    """

    def __init__(self, hung_s: float = HUNG_S) -> None:
        self._hung_s = hung_s
        self._callback: PeriodicCallback | None = None

    def start(self, worker: Any) -> None:
        """Begin, on the worker's loop; a worker that nobody would start again is left alone.

        Parameters
        ----------
        worker : distributed.Worker
            The worker.
        """
        if worker.nanny is None:
            return
        self._arm()
        self._callback = PeriodicCallback(self._arm, 1000 * self._hung_s / ARMS_PER_LIMIT)
        self._callback.start()

    def stop(self) -> None:
        """End watching."""
        if self._callback is not None:
            self._callback.stop()
            faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(self._hung_s, exit=True, file=sys.__stderr__ or sys.stderr)
