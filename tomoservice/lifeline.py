"""Child processes that do not outlive their parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TextIO


def stop_when_closed(stream: TextIO, on_line: Callable[[], None] | None = None) -> None:
    """Send SIGTERM to this process when `stream` ends.

    A parent that holds the other end of the pipe need not do anything for that, not even die in
    order: the system closes the pipe of a process that is killed.

    Parameters
    ----------
    stream : text file
        Usually ``sys.stdin``; read to its end by a daemon thread.
    on_line : callable, optional
        Called for every line that comes.
    """

    def watch() -> None:
        while stream.readline():
            if on_line is not None:
                on_line()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
