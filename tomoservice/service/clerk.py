"""Does in Tiled what somebody asks for by HTTP, in their name: Tiled decides what they may."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tomoservice.catalog.transport import connect_as, disconnect
from tomoservice.compute.shelf import Shelf

Result = TypeVar("Result")

THREADS = 8
"""That wait for the service's own answers. A pool of their own: the answers need the others."""
CONNECTIONS = 32
"""Connections that are kept open, one for each key that is used."""


class Connection:
    """A Tiled client that acts for somebody."""

    def __init__(self, root: Any) -> None:
        self.root = root

    def is_fresh(self) -> bool:
        """Tell that it may be used: Tiled looks at the key with every request."""
        return True

    def close(self) -> None:
        """Close the connection."""
        disconnect(self.root)


class Clerk:
    """Acts in Tiled for whoever asks, through the same requests that they could send themselves.

    Parameters
    ----------
    uri : callable
        Returns the address of the service.
    """

    def __init__(self, uri: Callable[[], str]) -> None:
        self._uri = uri
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="clerk")
        self._connections: Shelf[Connection] = Shelf(CONNECTIONS)

    async def act(self, authorization: str | None, work: Callable[[Any], Result]) -> Result:
        """Return what `work` returns, which is called with a Tiled client for the root of the service.

        Parameters
        ----------
        authorization
            Header by which the one who asks is known; None for whoever gave none.
        work
            What is to be done; runs in a thread.

        Raises
        ------
        TomoserviceError
            As `work` raised it: what Tiled refuses among it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._act, authorization, work)

    def _act(self, authorization: str | None, work: Callable[[Any], Result]) -> Result:
        # Keys are kept by what follows from them, not as they are.
        key = hashlib.sha256((authorization or "").encode()).hexdigest()
        with self._connections.lend(
            key, lambda: Connection(connect_as(self._uri(), authorization))
        ) as connection:
            return work(connection.root)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._threads.shutdown, wait=False, cancel_futures=True)
        self._connections.close()
