"""PostgreSQL and Redis of this machine, a piece of each for one test session."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
import yaml

POSTGRES = os.environ.get("TOMOSERVICE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
REDIS = os.environ.get("TOMOSERVICE_TEST_REDIS", "redis://127.0.0.1:6379")
WAIT_S = 3.0
HOW_TO = Path(__file__).resolve().parents[2] / "docs/how-to"
PAGE, WORKERS_PAGE = HOW_TO / "production.md", HOW_TO / "workers.md"
TAKEN = "tomoservice-test"


@contextmanager
def own_database() -> Iterator[str]:
    """Make a PostgreSQL database and remove it afterwards; skip where there is no server."""
    name = f"tomoservice_{uuid.uuid4().hex[:12]}"
    try:
        asyncio.run(_administer(f"CREATE DATABASE {name}"))
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        pytest.skip(f"no PostgreSQL at TOMOSERVICE_TEST_POSTGRES={POSTGRES}: {error}")
    try:
        yield f"{POSTGRES.rpartition('/')[0]}/{name}"
    finally:
        asyncio.run(_administer(f"DROP DATABASE {name} WITH (FORCE)"))


async def _administer(statement: str) -> None:
    connection = await asyncpg.connect(POSTGRES, timeout=WAIT_S)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def own_redis() -> Iterator[str]:
    """Take an empty database of a Redis server and leave it empty; skip where there is none."""
    for number in range(1, 16):
        uri = f"{REDIS}/{number}"
        try:
            with redis.Redis.from_url(uri, socket_connect_timeout=WAIT_S) as server:
                free = server.dbsize() == 0 and server.set(TAKEN, "1", nx=True, ex=3600)
        except redis.RedisError as error:
            pytest.skip(f"no Redis at TOMOSERVICE_TEST_REDIS={REDIS}: {error}")
        if free:
            break
    else:
        pytest.skip(f"all databases of {REDIS} are in use")
    try:
        yield uri
    finally:
        with redis.Redis.from_url(uri) as server:
            server.flushdb()


def documented(name: str, page: Path = PAGE) -> str:
    """Return a block of a page; by default, of the one about installations for several hosts."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert found is not None, f"{page} has no block {name!r}"
    return found[1]


def documented_settings(name: str, page: Path = PAGE, **places: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a page, with folders and addresses of this machine instead of the page's."""
    content: dict[str, Any] = yaml.safe_load(documented(name, page))
    for key in ("data", "volumes"):
        content.pop(key, None)
    for section, values in places.items():
        content[section] = {**content.get(section, {}), **values}
    return content
