"""Telling documents that have come before from new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_ENDED = 1000
"""Runs that have ended and are remembered."""


class Repeats:
    """Remembers the documents of runs that go on, and of others that they have ended."""

    def __init__(self) -> None:
        self._open: dict[str, set[str]] = {}
        self._ended: dict[str, None] = {}

    def has_seen(self, run: str, name: str, doc: Mapping[str, Any]) -> bool:
        """Tell whether a document of a run has come before; from now on it has."""
        if run in self._ended:
            return True
        seen = self._open.setdefault(run, set())
        identity = doc.get("datum_id") if name.startswith("datum") else doc.get("uid")
        # Pages are told apart by the first of what they hold.
        first = identity[0] if isinstance(identity, list | tuple) and identity else identity
        key = f"{name}/{first}"
        if first is not None and key in seen:
            return True
        seen.add(key)
        return False

    def end(self, run: str) -> None:
        """Remember only that a run has ended."""
        self._open.pop(run, None)
        self._ended[run] = None
        while len(self._ended) > MOST_ENDED:
            self._ended.pop(next(iter(self._ended)))

    def forget(self, run: str) -> None:
        """Forget a run."""
        self._open.pop(run, None)
