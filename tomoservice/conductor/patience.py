"""Waiting for a service that does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tomoservice.errors import CatalogError, FaultError, ServiceUnavailableError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
LOOK_S = 0.2
"""How often it is asked whether to stop waiting."""
FAULTS_S = 300.0
"""How long errors are taken to pass that a service which is there goes on with."""

Result = TypeVar("Result")


class Patience:
    """Waits from error to error, longer each time, and has an end with errors of one kind.

    Parameters
    ----------
    should_stop : callable
        Asked whether to stop waiting.
    ends_with : callable
        Tells whether an error is borne for a limited time only.
    limit_s : float, optional
        Seconds for which it is; five minutes by default.
    hint : callable, optional
        Returns what to do about such an error.
    """

    def __init__(
        self,
        should_stop: Callable[[], bool],
        ends_with: Callable[[ServiceUnavailableError], bool],
        *,
        limit_s: float | None = None,
        hint: Callable[[ServiceUnavailableError], str] | None = None,
    ) -> None:
        self._should_stop = should_stop
        self._ends_with = ends_with
        self._limit_s = FAULTS_S if limit_s is None else limit_s
        self._hint = hint
        self.renew()

    def renew(self) -> None:
        """Begin anew, because something went well."""
        self._pause_s = FIRST_PAUSE_S
        self._since: float | None = None

    def bear(self, error: ServiceUnavailableError) -> None:
        """Wait a little before what raised `error` is tried again.

        Raises
        ------
        ServiceUnavailableError
            The same, if `should_stop` says so.
        CatalogError
            There were such errors, and no others, for too long.
        """
        if self._should_stop():
            raise error
        if self._ends_with(error):
            self._since = time.monotonic() if self._since is None else self._since
            if time.monotonic() - self._since >= self._limit_s:
                said = f"{error}; given up after {self._limit_s:g} s of that"
                hint = self._hint(error) if self._hint else ""
                raise CatalogError(f"{said}; {hint}" if hint else said) from error
        else:
            self._since = None
        logger.warning("%s; trying again in %g s", error, self._pause_s)
        _wait(self._pause_s, self._should_stop)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


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
    patience = Patience(should_stop, lambda error: isinstance(error, FaultError), limit_s=faults_s)
    while True:
        try:
            return action()
        except ServiceUnavailableError as error:
            patience.bear(error)


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not should_stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))
