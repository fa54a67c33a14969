"""When a thread that looks after nodes has to look: soon after somebody pokes it, and now and then anyway."""

from __future__ import annotations

import threading
from collections.abc import Iterator

AFTER_S = (0.05, 0.2, 0.5)
"""When to look after somebody has created a node: it stands in the catalogue a moment later."""
ALWAYS_S = 10.0
"""How often to look in any case: another server's client may have created one, or a server may have died."""


class Lookout:
    """Tells one thread when to look."""

    def __init__(self) -> None:
        self._poked = threading.Event()
        self._stopping = threading.Event()

    def poke(self) -> None:
        """Look soon: somebody is creating a node."""
        self._poked.set()

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
            poked = self._poked.wait(ALWAYS_S)
            # Whoever pokes from now on gets another round.
            self._poked.clear()
            for pause in AFTER_S if poked else (0.0,):
                if self._stopping.wait(pause):
                    break
                yield
