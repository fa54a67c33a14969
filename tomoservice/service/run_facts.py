"""What runs are like in detail, which takes opening them; each is opened once."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tomoservice.compute.orders import RunAddress
from tomoservice.compute.workbench import Workbench
from tomoservice.sources import ScanSummary, describe

THREADS = 4
"""That wait for the service's own answers. A pool of their own: the answers need the others."""
KEPT = 512
"""Runs whose facts are kept."""


class RunFacts:
    """Describes runs, through Tiled: this process does not open their files itself.

    HDF5 refuses to open a file in two ways in one process, and Tiled has it open in its own.
    """

    def __init__(self) -> None:
        self._bench = Workbench()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="run-facts")
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bool], ScanSummary] = OrderedDict()

    async def describe(self, run: RunAddress, *, ended: bool) -> ScanSummary:
        """Return what a run is like.

        Parameters
        ----------
        run
            Of which, and who is going to see it.
        ended
            Whether it has its stop document: only of such a run it is kept.

        Raises
        ------
        InputError
            It cannot be read as a scan.
        ServiceUnavailableError
            The service does not answer itself at present.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._describe, run, ended)

    def _describe(self, run: RunAddress, ended: bool) -> ScanSummary:
        key = (run.key, ended)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        with self._bench.open(replace(run, readable=())) as scan:
            facts = describe(scan)
        if ended:
            with self._lock:
                self._known[key] = facts
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return facts

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._threads.shutdown, wait=False, cancel_futures=True)
        self._bench.close()
