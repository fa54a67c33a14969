"""Hearing at once that something happens directly in a container, as long as somebody tells."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from urllib.parse import quote

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LOOK_S = 0.2
"""How long it may take to notice that it is to end."""
OPEN_S = 10.0
LARGEST_BYTES = 64 * 2**20
"""A start document may be long."""


def stream_address(uri: str, path: str) -> str:
    """Return where Tiled announces what happens to the children of a container.

    Parameters
    ----------
    uri : str
        Address of the service, which may stand below a path of another server.
    path : str
        Path of the container.
    """
    address = httpx.URL(uri)
    below = address.path.partition("/api/v1")[0].rstrip("/")
    return str(
        address.copy_with(
            scheme="wss" if address.scheme == "https" else "ws",
            raw_path=f"{below}/api/v1/stream/single/{quote(path)}?envelope_format=msgpack".encode(),
        )
    )


class NodeNews:
    """Calls back whenever Tiled announces something about the children of a container.

    What is announced is not looked at: whoever is told looks at the catalogue, which holds the truth.
    Tiled's own subscription cannot be ended while it tries to connect, and waits forever for a server that
    refuses.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str or None
        Key that may read.
    path : str
        Path of the container.
    tell : callable
        Called in a thread of this object's, also each time that a connection has been made: what happened
        before has not been announced.
    """

    def __init__(self, uri: str, api_key: str | None, path: str, tell: Callable[[], None]) -> None:
        self._address = stream_address(uri, path)
        self._headers = {"Authorization": f"Apikey {api_key}"} if api_key else {}
        self._tell = tell
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="tomoservice-node-news", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell nothing more."""
        self._closing.set()

    def close(self, timeout_s: float) -> None:
        """Tell nothing more, and wait for the end of the thread."""
        self.stop()
        self._thread.join(timeout_s)

    def _listen(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                with connect(
                    self._address,
                    additional_headers=self._headers,
                    open_timeout=OPEN_S,
                    close_timeout=LOOK_S,
                    max_size=LARGEST_BYTES,
                ) as connection:
                    pause = FIRST_PAUSE_S
                    self._tell()
                    self._hear(connection)
            except (OSError, WebSocketException) as error:
                # Without announcements everything is found by looking, only later.
                logger.debug("%s: %s: %s", self._address, type(error).__name__, error)
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _hear(self, connection: ClientConnection) -> None:
        while not self._closing.is_set():
            try:
                connection.recv(timeout=LOOK_S)
            except TimeoutError:
                continue
            self._tell()
