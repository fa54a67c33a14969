"""The HTTP server: uvicorn, with a word before and after."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

KEYS = re.compile(r"\b(api_key|access_token)=[^&\s]*")
GRACE_S = 5
"""How long open requests and subscriptions may take when the service stops."""


class WithoutKeys(logging.Filter):
    """Takes keys out of addresses: browsers cannot send them to a WebSocket in a header."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record of the log; none is left out."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                KEYS.sub(r"\1=...", value) if isinstance(value, str) else value for value in record.args
            )
        return True


class _Server(uvicorn.Server):
    """Calls `on_ready` once requests are answered, and `on_stop` while they still are."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._on_ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening."""
        await asyncio.to_thread(self._on_stop)
        await super().shutdown(sockets)


def run(app: Any, listener: socket.socket, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
    """Serve an ASGI application on a socket until SIGINT or SIGTERM.

    Parameters
    ----------
    app : ASGI application
        What to serve.
    listener : socket
        Bound and listening.
    on_ready : callable
        Called when requests are answered.
    on_stop : callable
        Called when the service has been asked to stop, while requests are still answered.
    """
    config = uvicorn.Config(
        app,
        # Logging belongs to the process, not to a library; a line per request drowns everything else.
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    log = logging.getLogger("uvicorn.error")
    if not any(isinstance(known, WithoutKeys) for known in log.filters):
        log.addFilter(WithoutKeys())
    with _signals_swallowed():
        _Server(config, on_ready, on_stop).run(sockets=[listener])


@contextmanager
def _signals_swallowed() -> Iterator[None]:
    # uvicorn raises the signals that stopped it once more when it is done, which would end the process
    # before the caller has cleaned up.
    def swallow(number: int, frame: FrameType | None) -> None:
        del number, frame

    before = {number: signal.signal(number, swallow) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
