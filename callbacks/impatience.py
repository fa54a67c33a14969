"""A Tiled client that says at once when it gets no answer."""

from __future__ import annotations

from typing import Any

from tomoservice.errors import ServiceUnavailableError


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
    import httpx

    from tomoservice.catalog.transport import ConflictError, FaultError, connect

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


class RawRuns:
    """The raw runs in Tiled, connected when it is first asked for.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write.
    path : str
        Path of the container.
    """

    def __init__(self, uri: str, api_key: str | None, path: str) -> None:
        self._uri = uri
        self._api_key = api_key
        self._path = path
        self._root: Any = None
        self._container: Any = None

    def container(self) -> Any:
        """Return the Tiled client of the container.

        Raises
        ------
        ServiceUnavailableError
            Nobody answers.
        CatalogError
            There is no such container, or the key may not see it.
        """
        from tomoservice.catalog.transport import child

        if self._container is None:
            self._container = child(self._connected(), *self._path.split("/"))
        return self._container

    def find(self, uid: str) -> Any:
        """Return the run with a uid, or None if there is none.

        Raises
        ------
        ServiceUnavailableError
            Nobody answers.
        """
        from tomoservice.catalog.transport import NotFoundError, child

        try:
            # From the root: the client of the runs themselves takes an absent uid for a part of another.
            node = child(self._connected(), *self._path.split("/"), uid)
        except NotFoundError:
            return None
        return node if node.path_parts[-1] == uid else None

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self._root is not None:
            self._root.context.http_client.close()
        self._root = self._container = None

    def _connected(self) -> Any:
        if self._root is None:
            self._root = connect_impatiently(self._uri, self._api_key)
        return self._root
