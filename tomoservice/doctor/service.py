"""The running service, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from tomoservice.catalog.claims import CLOCK_TOLERANCE_S
from tomoservice.doctor.finding import Finding, ok, warning, wrong

WAIT_S = 10.0
HEADER_S = 1.0
"""A date in an answer's header has whole seconds, and servers renew it once a second."""


def check_service(uri: str | None, api_key: str | None) -> Iterator[Finding]:
    """Look at the service from here: whether it answers, takes the key, and what time it has."""
    if uri is None:
        yield warning(
            "service",
            "none is known to run here",
            "start one with `tomoservice serve`, or say where it is with --uri or conductor.uri",
        )
        return
    headers = {"Authorization": f"Apikey {api_key}"} if api_key else {}
    try:
        began = time.time()
        answer = httpx.get(f"{uri.rstrip('/')}/api/v1/metadata/", headers=headers, timeout=WAIT_S)
        ended = time.time()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield wrong(
            "service",
            f"{uri} does not answer: {type(error).__name__}: {error}",
            "look at its log, `service.log` or the terminal it runs in, and at firewalls in between",
        )
        return
    if answer.status_code in (401, 403):
        yield wrong(
            "service",
            f"{uri} refuses the key ({answer.status_code})" if api_key else f"{uri} wants a key",
            "give the right one by --api-key-file, conductor.api_key_file or TILED_API_KEY",
        )
    elif answer.is_error:
        yield wrong("service", f"{uri} answers {answer.status_code}", "look at its log")
    else:
        took = 1e3 * (ended - began)
        yield ok("service", f"{uri} answers in {took:.0f} ms" + ("" if api_key else "; no key to write with"))
    yield from _check_clock(answer.headers.get("date"), began, ended)


def _check_clock(date: str | None, began: float, ended: float) -> Iterator[Finding]:
    if date is None:
        return
    there = parsedate_to_datetime(date).timestamp()
    # Its clock read something from `there` on when it wrote that, and we were between `began` and `ended`.
    ahead = max(there - ended, 0.0)
    behind = max(began - there - 2 * HEADER_S, 0.0)
    off = ahead - behind
    if abs(off) > CLOCK_TOLERANCE_S:
        yield wrong(
            "clocks",
            f"the server's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this one",
            f"let both be set by NTP (chrony); leases want clocks that agree within {CLOCK_TOLERANCE_S:g} s",
        )
    else:
        yield ok("clocks", f"the server's clock and this one agree within {CLOCK_TOLERANCE_S:g} s")
