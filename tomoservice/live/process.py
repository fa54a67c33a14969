"""The live reconstruction as a process: logging, signals, and making room for others."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from tomoservice.errors import ServiceUnavailableError
from tomoservice.freed_memory import share_heaps
from tomoservice.logs import start_logging
from tomoservice.settings import Settings

LOG_FILE = "live.log"
RETRY_S = "5"
LOOK_S = 0.5
PROBE_S = 1.0
NICE = 5
"""What is computed for good goes before what is shown for now."""


def run_live(uri: str, api_key: str | None, settings: Settings) -> None:
    """Reconstruct runs while they go on, in this process, until SIGINT or SIGTERM.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write.
    settings : Settings
        Where logs go; below which folders raw files are read directly; pace.
    """
    share_heaps()
    start_logging(settings.data_folder / "logs" / LOG_FILE)
    # Tiled's client would try for 45 s; there is something newer to be shown by then.
    os.environ.setdefault("TILED_RETRY_TIMEOUT", RETRY_S)
    os.nice(NICE)
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # The server needs all cores to start; what is imported here would be in its way.
    if not _wait_for_service(uri, stopping):
        return
    from tomoservice.live.loop import LiveLoop
    from tomoservice.live.manners import SessionManners
    from tomoservice.live.warming import warm

    manners = SessionManners()
    loop = LiveLoop(uri, api_key, settings.live, settings.raw_folders, manners)

    def end() -> None:
        stopping.wait()
        manners.come_back()
        loop.stop()

    threading.Thread(target=end, name="live-stop", daemon=True).start()
    # Beside the first look at the runs.
    threading.Thread(target=warm, name="live-warming", daemon=True).start()
    loop.run()


def _wait_for_service(uri: str, stopping: threading.Event) -> bool:
    """Wait until the service answers; tell whether it does, or this process is to end."""
    from tomoservice.catalog.transport import probe

    while not stopping.is_set():
        try:
            probe(uri, PROBE_S)
        except ServiceUnavailableError:
            stopping.wait(LOOK_S)
        else:
            return True
    return False
