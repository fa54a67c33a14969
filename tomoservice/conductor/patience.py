"""Waiting for a service that does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tomoservice.catalog.transport import FaultError
from tomoservice.errors import CatalogError, ServiceUnavailableError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
LOOK_S = 0.2
"""How often it is asked whether to stop waiting."""
FAULTS_S = 300.0
"""How long a service may go on answering with an error of its own."""

Result = TypeVar("Result")


def persistently(
    action: Callable[[], Result], should_stop: Callable[[], bool], *, faults_s: float | None = None
) -> Result:
    """Return what `action` returns, repeating it while the service is unavailable.

    Parameters
    ----------
    action : callable
        What to do; may be done more than once.
    should_stop : callable
        Asked whether to stop waiting.
    faults_s : float, optional
        Seconds for which errors of the service itself (a full disk, a locked database) are taken to pass;
        five minutes by default. A service that does not answer at all is waited for without limit.

    Raises
    ------
    ServiceUnavailableError
        The service is unavailable and `should_stop` says so.
    CatalogError
        The service went on answering with an error for too long.
    """
    limit_s = FAULTS_S if faults_s is None else faults_s
    pause = FIRST_PAUSE_S
    faulty_since: float | None = None
    while True:
        try:
            return action()
        except ServiceUnavailableError as error:
            if should_stop():
                raise
            if isinstance(error, FaultError):
                faulty_since = time.monotonic() if faulty_since is None else faulty_since
                if time.monotonic() - faulty_since >= limit_s:
                    raise CatalogError(f"{error}; given up after {limit_s:g} s of that") from error
            else:
                faulty_since = None
            logger.warning("%s; trying again in %g s", error, pause)
            _wait(pause, should_stop)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))
