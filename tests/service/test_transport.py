"""Connecting to a service: what stands at its address besides it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tomoservice.catalog.transport import connect
from tomoservice.errors import CatalogError


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everybody to the encrypted address, as proxies do."""

    def do_GET(self) -> None:
        self.send_response(308)
        self.send_header("Location", f"https://tomo.example.org{self.path}")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_plain_address_that_leads_to_an_encrypted_one_is_not_followed(proxy: str) -> None:
    with pytest.raises(CatalogError, match=r"is served at https://tomo\.example\.org/; connect to that"):
        connect(proxy, "secret")
