"""When a thread that looks after nodes has to look: soon after somebody pokes it, and now and then anyway."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

AFTER_S = (0.05, 0.2, 0.3)
"""When to look after somebody has created a node: it stands in the catalogue a moment later."""
ALWAYS_S = 10.0
"""How often to look in any case: another server's client may have created one, or a server may have died."""


class Lookout:
    """Tells one thread when to look."""

    def __init__(self) -> None:
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self._again: float | None = None

    def poke(self) -> None:
        """Look soon: somebody is creating a node."""
        self._poked.set()

    def again(self, after_s: float) -> None:
        """Look once more after some time; for the thread that looks."""
        at = time.monotonic() + after_s
        self._again = at if self._again is None else min(self._again, at)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._poked.set()

    def is_stopping(self) -> bool:
        """Tell whether to look no more."""
        return self._stopping.is_set()

    def rounds(self) -> Iterator[None]:
        """Yield whenever it is time to look, until `stop`."""
        while not self.is_stopping():
            pause = ALWAYS_S if self._again is None else self._again - time.monotonic()
            self._again = None
            poked = self._poked.wait(min(max(pause, 0.0), ALWAYS_S))
            # Whoever pokes from now on gets another round.
            self._poked.clear()
            for pause in AFTER_S if poked else (0.0,):
                if self._stopping.wait(pause):
                    break
                yield
