"""Answering Channel Access, as an IOC that is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from caproto.asyncio.server import Context

from profiles.child import READY

LARGE: Final = 4096
"""Elements; a channel with more is an image."""
UPDATES_KEPT: Final = 32
"""Of a channel for each client: enough for one that is slow to see a motor stop and start again."""


async def serve(
    pvdb: Mapping[str, Any], interfaces: Sequence[str], start: Callable[[], Awaitable[None]]
) -> None:
    """Answer Channel Access until told to end: by SIGTERM, SIGINT, or the end of standard input.

    Parameters
    ----------
    pvdb
        Channel by name.
    interfaces
        Addresses to listen on.
    start
        Awaited before the line ``ready`` is written to standard output.
    """
    loop = asyncio.get_running_loop()
    keep_few_updates(pvdb)
    server = Context(dict(pvdb), list(interfaces))
    task: asyncio.Task[None] | None = None

    async def announce(_async_lib: Any) -> None:
        await start()
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()

    def end() -> None:
        if task is not None:
            task.cancel()

    def on_input() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin)
            end()

    task = asyncio.create_task(server.run(startup_hook=announce))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    with contextlib.suppress(PermissionError):  # a file or the null device, which never closes
        loop.add_reader(sys.stdin, on_input)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def keep_few_updates(pvdb: Mapping[str, Any]) -> None:
    """Bound what caproto keeps of each channel for each client.

    It keeps the latest updates of a subscription, a thousand and ten images, long after they were sent.

    Parameters
    ----------
    pvdb
        Channel by name, modified.
    """
    for channel in pvdb.values():
        for one in (channel, *getattr(channel, "fields", {}).values()):
            one.max_subscription_backlog = 1 if (one.max_length or 1) > LARGE else UPDATES_KEPT
