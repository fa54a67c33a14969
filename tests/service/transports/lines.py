"""RunEngines at one end and listeners at the other, with what stands between them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callbacks.arrival import Deliver, DocumentSource
from callbacks.listener import Listener
from tests.service.conftest import wait_for
from tests.service.transports.contract import RULES
from tests.sources.documents import Document
from tomoservice.service.running import RunningService

Callback = Callable[[str, dict[str, Any]], None]


class Sender:
    """Sends documents to callbacks, as a RunEngine does."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = callbacks

    def send(self, docs: Sequence[Document]) -> None:
        for name, doc in docs:
            for callback in self._callbacks:
                callback(name, doc)


@contextmanager
def listening(
    service: RunningService, source: DocumentSource, spool: Path, *, publish: bool
) -> Iterator[list[str]]:
    """Listen in a thread; yield the names of the documents that have come."""
    with (
        Listener(service.uri, service.api_key, spool=spool, rules=RULES, publish=publish) as listener,
        taking(source, listener.take) as heard,
    ):
        yield heard


@contextmanager
def taking(source: DocumentSource, *takers: Deliver) -> Iterator[list[str]]:
    """Take what a source brings in a thread; yield the names of the documents that have come."""
    heard: list[str] = []

    def take(name: str, doc: Mapping[str, Any]) -> None:
        for taker in takers:
            taker(name, doc)
        heard.append(name)

    thread = threading.Thread(target=source.run, args=(take,))
    thread.start()
    try:
        yield heard
    finally:
        source.stop()
        thread.join(5)
        assert not thread.is_alive()


@contextmanager
def zmq_proxy(in_port: int, out_port: int, *options: str | Path) -> Iterator[None]:
    """Run Bluesky's own proxy."""
    command = Path(sys.executable).parent / "bluesky-0MQ-proxy"
    process = subprocess.Popen(
        [
            command,
            *("--in-address", f"127.0.0.1:{in_port}"),
            *("--out-address", f"127.0.0.1:{out_port}"),
            *options,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def until_connected(publisher: Callback, heard: list[str], seconds: float = 30.0) -> None:
    """Send what means nothing until it arrives: a subscription takes a moment, and 0MQ keeps nothing."""
    before = len(heard)

    def arrives() -> bool:
        publisher("start", {"uid": "knock", "time": 0.0})
        time.sleep(0.05)
        return len(heard) > before

    wait_for(arrives, seconds)
