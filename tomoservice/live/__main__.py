"""A live reconstruction that a service controls: its lot comes from standard input, whose end stops it."""

from __future__ import annotations

import logging
import sys

from tomoservice.errors import TomoserviceError
from tomoservice.lifeline import stop_when_closed
from tomoservice.live.process import run_live
from tomoservice.settings import settings_from_json

logger = logging.getLogger(__name__)


def main() -> int:
    """Work until standard input is closed or a signal comes; return the exit status."""
    uri, api_key, text = (sys.stdin.readline().strip() for _ in range(3))
    settings = settings_from_json(text)
    stop_when_closed(sys.stdin)
    try:
        run_live(uri, api_key, settings)
    except TomoserviceError as error:
        logger.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
