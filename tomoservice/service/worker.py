"""One of several server processes: its lot comes from standard input, whose end stops it."""

from __future__ import annotations

import logging
import socket
import sys

from tomoservice.errors import TomoserviceError
from tomoservice.freed_memory import share_heaps
from tomoservice.lifeline import stop_when_closed
from tomoservice.logs import start_logging
from tomoservice.settings import settings_from_json

logger = logging.getLogger(__name__)


def main() -> int:
    """Serve until standard input is closed or a signal comes; return the exit status."""
    share_heaps()
    descriptor, uri, api_key, text = (sys.stdin.readline().strip() for _ in range(4))
    start_logging()
    settings = settings_from_json(text)
    stop_when_closed(sys.stdin)
    from tomoservice.service.app import make_app
    from tomoservice.service.http import run

    with socket.socket(fileno=int(descriptor)) as listener:
        try:
            run(make_app(settings, api_key, lambda: uri), listener, _nothing, _nothing)
        except TomoserviceError as error:
            logger.critical("%s", error)
            return 1
    return 0


def _nothing() -> None:
    """Leave it to the parent to tell anybody."""


if __name__ == "__main__":
    sys.exit(main())
