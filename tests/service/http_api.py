"""The service's own routes as tests use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tomoservice.service.events import ServiceEvent
from tomoservice.service.running import RunningService


def api_of(service: RunningService, key: str | None) -> httpx.Client:
    headers = {} if key is None else {"Authorization": f"Apikey {key}"}
    return httpx.Client(base_url=f"{service.uri}/api/v1/tomo/", headers=headers, timeout=60)


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


@contextmanager
def listening(service: RunningService, key: str | None = None, query: str = "") -> Iterator[ClientConnection]:
    headers = {} if key is None else {"Authorization": f"Apikey {key}"}
    address = service.uri.replace("http", "ws", 1) + "/api/v1/tomo/events" + query
    with connect(address, additional_headers=headers, open_timeout=30) as connection:
        yield connection


def heard(
    connection: ClientConnection, until: Callable[[ServiceEvent], bool], seconds: float = 30.0
) -> list[ServiceEvent]:
    """Return what is told up to the event that is waited for."""
    events: list[ServiceEvent] = []
    deadline = time.monotonic() + seconds
    while not events or not until(events[-1]):
        message = connection.recv(timeout=max(deadline - time.monotonic(), 0))
        events.append(ServiceEvent.model_validate_json(message))
    return events


def about(identifier: str, state: str | None) -> Callable[[ServiceEvent], bool]:
    return lambda event: (event.id, event.state) == (identifier, state)
