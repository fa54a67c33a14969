"""A service that another process controls: settings come from standard input, its end stops the service."""

from __future__ import annotations

import logging
import sys

from tomoservice.errors import TomoserviceError
from tomoservice.lifeline import stop_when_closed
from tomoservice.logs import start_logging
from tomoservice.service.server import serve
from tomoservice.settings import settings_from_json


def main() -> int:
    """Serve until standard input is closed or a signal comes; return the exit status."""
    start_logging()
    settings = settings_from_json(sys.stdin.readline())
    stop_when_closed(sys.stdin)
    try:
        serve(settings)
    except TomoserviceError as error:
        # The message says it all; a traceback would only hide it.
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
