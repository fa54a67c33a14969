"""What the streaming cache in a server's memory keeps for those who subscribe late: so many bytes, not more.

Every array and every table that is written is announced with its content. Tiled 0.2.20 counts what it keeps
of that, a thousand at most, and not its bytes: with images of live reconstructions these are gigabytes.
Redis is left as it is: its bound is `maxmemory`, and other processes read there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

BUDGET_BYTES = 128 * 2**20
"""Bytes of payloads that are kept, of all nodes together."""


class ThriftyDatastore:
    """A streaming datastore in memory that forgets the oldest payloads when there are too many bytes of them.

    Parameters
    ----------
    store : StreamingDatastore
        Tiled's own, in memory.
    budget_bytes : int
        Bytes of payloads to keep.
    """

    def __init__(self, store: Any, budget_bytes: int = BUDGET_BYTES) -> None:
        self._store = store
        self._budget = budget_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def set(self, node_id: Any, sequence: int, metadata: Any, payload: bytes | None = None) -> None:
        """Keep what is new, which its subscribers are told of; forget the oldest."""
        await self._store.set(node_id, sequence, metadata, payload)
        if not payload:
            return
        key = f"data:{node_id}:{sequence}"
        self._bytes += len(payload) - self._sizes.pop(key, 0)
        self._sizes[key] = len(payload)
        kept = self._store._data_cache
        # The newest stays, however large: it has just been announced.
        while len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            if self._bytes <= self._budget and oldest in kept:
                break
            kept.pop(oldest, None)
            self._bytes -= self._sizes.pop(oldest)


def keep_little(cache: Any) -> None:
    """Have a streaming cache in memory keep a bounded number of bytes; no other cache is changed."""
    if cache is not None and hasattr(cache._datastore, "_data_cache"):
        cache._datastore = ThriftyDatastore(cache._datastore)
