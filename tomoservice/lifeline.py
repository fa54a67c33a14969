"""Child processes that do not outlive their parent."""

from __future__ import annotations

import os
import signal
import threading
from typing import TextIO


def stop_when_closed(stream: TextIO) -> None:
    """Send SIGTERM to this process when `stream` ends.

    A parent that holds the other end of the pipe need not do anything for that, not even die in
    order: the system closes the pipe of a process that is killed.

    Parameters
    ----------
    stream : text file
        Usually ``sys.stdin``; read to its end by a daemon thread.
    """

    def watch() -> None:
        while stream.readline():
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
