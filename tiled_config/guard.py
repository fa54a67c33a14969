"""What Tiled may open when somebody reads a node: what lies in the readable storage, whatever it is called.

Tiled 0.2.20 compares an asset's folder with the readable ones as text: ``..`` and symbolic links lead out
of them, and an address that begins with ``sqlite:`` or ``duckdb:`` is not looked at, though adapters open
the file behind it. Parameters of a data source, which adapters get as well, may hold addresses, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from starlette.responses import Response
from tiled.storage import FileStorage, Storage, storage_registry_key
from tiled.utils import ensure_uri

FORBIDDEN = 403
ADDRESS = re.compile(r"[a-z0-9+.-]+:/", re.IGNORECASE)
REFUSAL = "Refusing to serve "
"""How Tiled's own message begins, which becomes a 500 that clients repeat."""


class ReadableStorage:
    """Where files may be read, with symbolic links and ``..`` resolved.

    Parameters
    ----------
    storages : iterable of Storage
        Folders and databases that the configuration names.
    """

    def __init__(self, storages: Iterable[Storage]) -> None:
        known = list(storages)
        self._folders = [storage.path.resolve() for storage in known if isinstance(storage, FileStorage)]
        self._databases = {
            storage_registry_key(storage.uri) for storage in known if not isinstance(storage, FileStorage)
        }

    def check(self, address: str) -> None:
        """Refuse an address that leads out of the storage.

        Raises
        ------
        HTTPException
            With status 403.
        """
        parts = urlsplit(ensure_uri(address))
        if parts.scheme == "file":
            path = Path(parts.path).resolve()
            if any(path.is_relative_to(folder) for folder in self._folders):
                return
        elif storage_registry_key(address) in self._databases:
            return
        raise HTTPException(
            FORBIDDEN,
            detail=f"{address} is outside the folders that the service may read; add its folder to "
            "service.raw_folders, or put the file into one of them",
        )


class GuardedAdapters(Mapping[str, Any]):
    """Tiled's adapters by mimetype, each of which looks at what it is to open first.

    Parameters
    ----------
    adapters : mapping
        Adapter classes by mimetype.
    storage : ReadableStorage
        What may be opened.
    """

    def __init__(self, adapters: Mapping[str, Any], storage: ReadableStorage) -> None:
        self._adapters = adapters
        self._storage = storage

    def __getitem__(self, mimetype: str) -> GuardedAdapter:
        return GuardedAdapter(self._adapters[mimetype], self._storage)

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)


class GuardedAdapter:
    """An adapter class that opens nothing outside the storage; all else is the class's own."""

    def __init__(self, adapter: Any, storage: ReadableStorage) -> None:
        self._adapter = adapter
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def from_catalog(self, data_source: Any, node: Any, /, **parameters: Any) -> Any:
        """Return the adapter of a node, once every address that it gets has been looked at."""
        for asset in data_source.assets:
            self._storage.check(asset.data_uri)
        for address in _addresses(parameters):
            self._storage.check(address)
        return self._adapter.from_catalog(data_source, node, **parameters)


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if ADDRESS.match(value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _addresses(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _addresses(item)


def guard(tree: Any) -> None:
    """Let a catalogue open nothing outside its readable storage."""
    context = tree.context
    storage = ReadableStorage(context.readable_storage.values())
    context.adapters_by_mimetype = GuardedAdapters(context.adapters_by_mimetype, storage)


async def refuse(request: Request, error: Exception) -> Response:
    """Answer 403 to what Tiled itself refuses to open; any other error is none of ours."""
    if not str(error).startswith(REFUSAL):
        raise error
    refused = HTTPException(FORBIDDEN, detail=f"{error}; add its folder to service.raw_folders")
    return await http_exception_handler(request, refused)
