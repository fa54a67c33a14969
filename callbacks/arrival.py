"""Where documents arrive from that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Deliver = Callable[[str, Mapping[str, Any]], None]
"""Takes a document by its kind and content; what it raises means that the document is to come again."""


class DocumentSource(Protocol):
    """Brings documents until it is stopped, whatever becomes of the connection meanwhile."""

    def run(self, deliver: Deliver) -> None:
        """Bring documents, one after the other, until `stop` is called."""

    def stop(self) -> None:
        """End `run` within a second; from any thread, also before it has begun."""
