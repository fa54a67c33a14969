"""What is kept for late subscribers does not fill the server's memory."""

from __future__ import annotations

import asyncio
from typing import Any

from tiled.server.streaming import StreamingCache

from tiled_config.streaming import BUDGET_BYTES, ThriftyDatastore, keep_little

LARGE = BUDGET_BYTES // 10


def kept_bytes(store: Any) -> int:
    return sum(len(item.get("payload", b"")) for item in store._data_cache.values())


def test_bytes_of_all_nodes_together_are_bounded() -> None:
    cache = StreamingCache({"datastore": "memory", "data_ttl": 600})
    keep_little(cache)
    store = cache._datastore._store
    image, row = bytes(LARGE), bytes(100)

    async def fill() -> None:
        for _ in range(15):
            # Large and small in turn, and of several nodes, as live images, events and tables come.
            for node, payload in (("image", image), ("image", row), ("volume", image), ("table", row)):
                sequence = await cache.incr_seq(node)
                await cache.set(node, sequence, {"n": sequence}, payload)
            await cache.set("run", await cache.incr_seq("run"), {"no": "payload"})
            assert kept_bytes(store) <= BUDGET_BYTES
        newest = await store.get(f"data:image:{30}", "payload")
        assert newest == [row]

    asyncio.run(fill())
    assert kept_bytes(store) > BUDGET_BYTES - 2 * LARGE
    # What has no payload is kept as Tiled keeps it.
    assert sum(key.startswith("data:run:") for key in store._data_cache) == 15


def test_what_tiled_has_forgotten_is_not_counted() -> None:
    cache = StreamingCache({"datastore": "memory", "data_ttl": 600, "maxsize": 5})
    keep_little(cache)
    thrifty: ThriftyDatastore = cache._datastore

    async def fill() -> None:
        for sequence in range(100):
            await cache.set("table", sequence, {}, b"row")

    asyncio.run(fill())
    assert len(thrifty._sizes) <= 6


def test_redis_is_left_alone() -> None:
    config = {"datastore": "redis", "uri": "redis://127.0.0.1:6379", "data_ttl": 600, "seq_ttl": 600}
    cache = StreamingCache({**config, "socket_timeout": 1, "socket_connect_timeout": 1})
    before = cache._datastore
    keep_little(cache)
    assert cache._datastore is before
