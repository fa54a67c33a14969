"""The runs in Tiled as whoever publishes them sees them."""

from __future__ import annotations

from typing import Any


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
            from tomoservice.catalog.impatience import connect_impatiently

            self._root = connect_impatiently(self._uri, self._api_key)
        return self._root
