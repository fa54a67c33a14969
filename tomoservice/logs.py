"""What the processes of a service log: one form, files of bounded size, and no chatter of libraries."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import warnings
from logging.handlers import RotatingFileHandler
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FILE_BYTES = 10 * 2**20
FILES = 5


def start_logging(path: Path | None = None) -> None:
    """Log to standard error and, if there is a path, to a file, which is renamed when it is full.

    Tracebacks of what is no more than a warning stand in the file alone.
    Replaces what has been set up before, but for a wish to hear everything.
    """
    wanted = logging.getLogger().level
    level = wanted if wanted == logging.DEBUG else logging.INFO
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        handlers[0].setFormatter(_Brief(FORMAT))
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8"))
    logging.basicConfig(level=level, format=FORMAT, handlers=handlers, force=True)
    quiet_libraries()


def quiet_libraries() -> None:
    """Let libraries speak of what is wrong only, unless everything is to be heard.

    To be called before they are imported.
    """
    # Tiled's configuration holds classes where its model has their names.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    logging.getLogger("distributed.client").addFilter(_is_no_cancellation)
    if logging.getLogger().level == logging.DEBUG:
        return
    # One line per request says nothing that the server's side does not say better.
    for name in ("httpx", "distributed", "numexpr"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Dask sets the level of its own log when it is imported, here and in its workers, to what this says.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    # Tiled says its version, twice.
    logging.getLogger("tiled.server.app").addFilter(_is_worth_a_line)


class _Brief(logging.Formatter):
    """Leaves out the tracebacks of warnings: the message says it all to whoever sits at the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        if record.levelno < logging.ERROR and record.exc_info:
            # The file's turn is still to come.
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Return False for what was cancelled, which Dask's client logs as an error."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO
