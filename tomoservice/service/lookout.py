"""When a thread that looks after nodes has to look: soon after somebody pokes it, and now and then anyway."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

AFTER_S = (0.05, 0.2, 0.3)
"""When to look after somebody has created a node: it stands in the catalogue a moment later."""
ALWAYS_S = 10.0
"""How often to look in any case: another server's client may have created one, or a server may have died."""
TICK_S = 0.2
"""Looks that are planned for less than this apart are one."""


class Lookout:
    """Tells one thread when to look; the others may poke it, or ask it to look after some time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._poked = False
        # When looks are planned, in ticks.
        self._planned: set[int] = set()

    def poke(self) -> None:
        """Look soon: somebody is creating a node."""
        with self._lock:
            self._poked = True
        self._changed.set()

    def again(self, after_s: float) -> None:
        """Look once after some time, whatever looks there are before."""
        with self._lock:
            self._planned.add(math.ceil((time.monotonic() + after_s) / TICK_S))
        self._changed.set()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._changed.set()

    def is_stopping(self) -> bool:
        """Tell whether to look no more."""
        return self._stopping.is_set()

    def rounds(self) -> Iterator[None]:
        """Yield whenever it is time to look, until `stop`."""
        always = time.monotonic() + ALWAYS_S
        while not self.is_stopping():
            with self._lock:
                until = min([always, *(tick * TICK_S for tick in self._planned)])
            self._changed.wait(max(until - time.monotonic(), 0.0))
            # Whoever pokes from now on gets another round.
            self._changed.clear()
            for pause in self._pauses(until):
                if self._stopping.wait(pause):
                    return
                yield
                always = time.monotonic() + ALWAYS_S

    def _pauses(self, until: float) -> tuple[float, ...]:
        """Return the pauses before looks that are due; none if only the time of the next one has changed."""
        with self._lock:
            if self._poked:
                self._poked = False
                return AFTER_S
            now = time.monotonic()
            if now < until:
                return ()
            self._planned = {tick for tick in self._planned if tick * TICK_S > now}
            return (0.0,)
