"""A conductor that a service controls: its lot comes from standard input, whose end stops it."""

from __future__ import annotations

import logging
import sys

from tomoservice.conductor.process import run_conductor
from tomoservice.errors import TomoserviceError
from tomoservice.lifeline import stop_when_closed
from tomoservice.settings import settings_from_json

logger = logging.getLogger(__name__)


def main() -> int:
    """Work until standard input is closed or a signal comes; return the exit status."""
    uri, api_key, text = (sys.stdin.readline().strip() for _ in range(3))
    settings = settings_from_json(text)
    # What the service serves; other files are none of our clients' business.
    folders = (settings.data_folder / "raw", *settings.service.raw_folders)
    stop_when_closed(sys.stdin)
    try:
        run_conductor(uri, api_key, settings, readable=[folder.expanduser().resolve() for folder in folders])
    except TomoserviceError as error:
        logger.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
