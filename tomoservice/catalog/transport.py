"""Connections to Tiled, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from tiled.client import from_context, from_uri
from tiled.client.context import Context

from tomoservice.errors import CatalogError, FaultError, ServiceUnavailableError

PROBE_S = 5.0


class ConflictError(CatalogError):
    """Something with that key exists already, or the server's state says no."""


class NotFoundError(CatalogError):
    """There is no such node, or the key may not see it."""


class NotAllowedError(CatalogError):
    """The API key may not do this."""


def connect(uri: str, api_key: str | None = None) -> Any:
    """Return a Tiled client for the root of the service at `uri`.

    Parameters
    ----------
    uri : str
        Address of the service, ``http://host:port``.
    api_key : str, optional
        Key that may write; without it, what the service lets everybody do.

    Raises
    ------
    ServiceUnavailableError
        Nobody answers at `uri`.
    CatalogError
        The service wants a key, or another one.
    """
    probe(uri)
    _check_key(uri, api_key)
    with translated(f"connecting to {uri}"):
        return from_uri(uri, api_key=api_key, verify=uri.startswith("https:"))


def root_of(node: Any) -> Any:
    """Return a client for the root of the service that a node is in, over the same connection."""
    with translated(f"connecting to {node.context.api_uri}"):
        return from_context(node.context)


def connect_as(uri: str, authorization: str | None) -> Any:
    """Return a Tiled client for the root of the service at `uri`, in the name of somebody else.

    Parameters
    ----------
    uri : str
        Address of the service, ``http://host:port``.
    authorization : str, optional
        What stands in the header of that name in a request of theirs, ``Apikey ...`` or ``Bearer ...``.
        Without it, what the service lets everybody do: whatever keys this process has are not used.

    Raises
    ------
    ServiceUnavailableError
        Nobody answers at `uri`.
    CatalogError
        The service does not know them.
    """
    with translated(f"connecting to {uri}"):
        # An empty key keeps Tiled's client from taking one of the environment.
        context = Context(f"{uri}/api/v1", api_key="", verify=uri.startswith("https:"))
        context.http_client.headers.pop("Authorization")
        if authorization is not None:
            context.http_client.auth = _Authorization(authorization)
        return from_context(context, remember_me=False)


class _Authorization(httpx.Auth):
    """Sends a header that somebody else sent."""

    def __init__(self, header: str) -> None:
        self._header = header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


def disconnect(node: Any) -> None:
    """Close the connection behind a Tiled client; its nodes cannot be used any more."""
    node.context.http_client.close()


def probe(uri: str, timeout_s: float = PROBE_S) -> None:
    """Raise `ServiceUnavailableError` unless somebody answers at `uri`.

    Tiled's client keeps trying for 45 s; this tells at once.
    """
    try:
        # Any answer means that somebody is there, an error included: a proxy may hide /healthz.
        # Certificates cost 40 ms and half a MiB, which never comes back, at every call.
        verify = uri.startswith("https:")
        httpx.get(httpx.URL(uri).copy_with(path="/healthz", query=None), timeout=timeout_s, verify=verify)
    except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ServiceUnavailableError(
            f"no service answers at {uri} ({type(error).__name__}); is `tomoservice serve` running there?"
        ) from error


def _check_key(uri: str, api_key: str | None) -> None:
    # Tiled's client would leave its connection open when it is refused.
    key = api_key or os.environ.get("TILED_API_KEY")
    headers = {"Authorization": f"Apikey {key}"} if key else {}
    with translated(f"connecting to {uri}"):
        address = httpx.URL(uri).copy_with(path="/api/v1/metadata/", query=None)
        response = httpx.get(address, headers=headers, timeout=PROBE_S, verify=uri.startswith("https:"))
        if response.status_code in (401, 403):
            problem = "does not accept this API key" if key else "wants an API key"
            raise NotAllowedError(f"{uri} {problem}; pass api_key, or set TILED_API_KEY")
        elsewhere = response.headers.get("location", "") if response.is_redirect else ""
        if elsewhere.startswith("https:") and not uri.startswith("https:"):
            # Nobody checked certificates for a plain address, and the key has been sent in the clear.
            raise CatalogError(
                f"{uri} is served at {httpx.URL(elsewhere).copy_with(path='/')}; connect to that address"
            )


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn what Tiled's client raises into errors of ours, saying during which `action`.

    Raises
    ------
    ServiceUnavailableError
        The server did not answer; a `FaultError` if it answered with a server error.
    ConflictError, NotFoundError, NotAllowedError, CatalogError
        The server refused, with its reason.
    """
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise _refusal(action, error) from error
    except httpx.HTTPError as error:
        raise ServiceUnavailableError(
            f"{action}: the service does not answer ({type(error).__name__}: {error})"
        ) from error


def _refusal(action: str, error: httpx.HTTPStatusError) -> Exception:
    code = error.response.status_code
    reason = _detail(error.response)
    if code >= 500 or code == 429:
        return FaultError(f"{action}: the service answered {code}: {reason}")
    if code in (401, 403):
        return NotAllowedError(f"{action}: the API key may not do this ({code}: {reason})")
    kinds: dict[int, type[CatalogError]] = {404: NotFoundError, 409: ConflictError}
    return kinds.get(code, CatalogError)(f"{action}: {reason}")


def _detail(response: httpx.Response) -> str:
    try:
        content = response.json()
    except (ValueError, KeyError, httpx.ResponseNotRead):
        return response.reason_phrase
    detail = content.get("detail", content) if isinstance(content, dict) else content
    return detail if isinstance(detail, str) else repr(detail)


def elsewhere(node: Any, *keys: str) -> Any:
    """Return another node of the same service, by its path from the root.

    Raises
    ------
    NotFoundError
        There is none.
    """
    with translated(f"reading {'/'.join(keys)}"):
        return from_context(node.context, node.structure_clients, list(keys), remember_me=False)


def child(node: Any, *keys: str) -> Any:
    """Return the descendant of a Tiled container.

    Raises
    ------
    NotFoundError
        There is none.
    """
    path = "/".join((*node.path_parts, *keys))
    with translated(f"reading {path}"):
        try:
            return node[keys]
        except KeyError as error:
            raise NotFoundError(f"there is no node {path} in {node.context.api_uri}") from error


def keys_of(node: Any, doing: str = "reading") -> list[str]:
    """Return the keys of a Tiled container in one request; a list of it would ask for their number first."""
    with translated(f"{doing} {'/'.join(node.path_parts)}"):
        return list(iter(node))
