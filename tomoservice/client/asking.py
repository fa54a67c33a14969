"""Questions to the service's own routes, below ``/api/v1/tomo``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from tomoservice.catalog.transport import translated

LONGEST_S = 300.0
"""How long an answer may take: whoever asks first waits for what is compiled, and for the axis."""
READY_S = 60.0
"""How long to ask again while nobody computes: a service that has just been started has no workers yet."""
AGAIN_S = 1.0


def ask(root: Any, route: str, content: Mapping[str, Any], action: str) -> httpx.Response:
    """Post a question, and return the answer.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    route : str
        What follows ``/api/v1/tomo/``.
    content : mapping
        The question, in plain JSON types.
    action : str
        What is being done, for errors.

    Raises
    ------
    CatalogError
        The service refuses; says why.
    ServiceUnavailableError
        It does not answer, or nobody computes.
    """
    deadline = time.monotonic() + READY_S
    with translated(action):
        while True:
            answer: httpx.Response = root.context.http_client.post(
                f"{root.context.api_uri}tomo/{route}",
                json=dict(content),
                headers={"Accept-Encoding": "identity"},
                timeout=LONGEST_S,
            )
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                answer.raise_for_status()
                return answer
            time.sleep(AGAIN_S)
