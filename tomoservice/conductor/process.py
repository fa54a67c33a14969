"""The conductor as a process: logging, signals."""

from __future__ import annotations

import logging
import os
import signal
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from tomoservice.settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOG_BYTES = 10 * 2**20
LOG_FILES = 5
RETRY_S = "5"


def run_conductor(uri: str, api_key: str | None, settings: Settings) -> None:
    """Run a conductor in this process until SIGINT or SIGTERM.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write and register.
    settings : Settings
        Where volumes go; lease, memory, pace.
    """
    log_file = _log_to(settings.data_folder / "logs" / "conductor.log")
    # Tiled's client would try for 45 s, longer than a lease; we have patience of our own.
    os.environ.setdefault("TILED_RETRY_TIMEOUT", RETRY_S)
    from tomoservice.conductor.loop import Conductor

    conductor = Conductor(uri, api_key, settings, log_file=str(log_file))

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        conductor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    conductor.run()


def _log_to(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=[logging.StreamHandler(), to_file])
    # One line per request says nothing that the server's side does not say better.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return path
