"""A conductor that a service controls: its lot comes from standard input, whose end stops it."""

from __future__ import annotations

import sys

from tomoservice.conductor.process import run_conductor
from tomoservice.lifeline import stop_when_closed
from tomoservice.settings import settings_from_json


def main() -> int:
    """Work until standard input is closed or a signal comes; return the exit status."""
    uri, api_key, settings = (sys.stdin.readline().strip() for _ in range(3))
    stop_when_closed(sys.stdin)
    run_conductor(uri, api_key, settings_from_json(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
