"""A Tiled client that says at once when it gets no answer."""

from __future__ import annotations

from typing import Any

import httpx

from tomoservice.catalog.transport import ConflictError, connect
from tomoservice.errors import FaultError, ServiceUnavailableError


def connect_impatiently(uri: str, api_key: str | None) -> Any:
    """Return a Tiled client for the root of the service that never tries twice.

    Tiled's own keeps trying for 45 s, a time that only all clients of a process can change together.
    Whoever uses this one begins again with everything, so no request is ever repeated by halves.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write.

    Raises
    ------
    ServiceUnavailableError
        Nobody answers; every later request may raise it too, a `FaultError` if the service answers
        with an error of its own.
    CatalogError
        The service wants a key, or another one.
    """
    root = connect(uri, api_key)
    http = root.context.http_client
    send = http.send

    def send_once(request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            response: httpx.Response = send(request, **options)
        except httpx.TransportError as error:
            # Not one of httpx's own errors, on which Tiled's client would try again.
            raise ServiceUnavailableError(
                f"the service at {uri} does not answer ({type(error).__name__}: {error})"
            ) from error
        if response.status_code >= 500 or response.status_code == 429:
            response.read()
            raise FaultError(f"{request.url.path}: the service answered {response.status_code}")
        if response.status_code == httpx.codes.CONFLICT:
            response.read()
            raise ConflictError(f"{request.url.path}: {response.text}")
        return response

    http.send = send_once
    return root
