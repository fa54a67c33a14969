"""Waiting for a service that does not answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tomoservice.errors import ServiceUnavailableError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0

Result = TypeVar("Result")


def persistently(action: Callable[[], Result], stopping: threading.Event) -> Result:
    """Return what `action` returns, repeating it while the service is unavailable.

    Raises
    ------
    ServiceUnavailableError
        The service is unavailable and `stopping` has been set.
    """
    pause = FIRST_PAUSE_S
    while True:
        try:
            return action()
        except ServiceUnavailableError as error:
            if stopping.is_set():
                raise
            logger.warning("%s; trying again in %g s", error, pause)
            stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
