"""Database and streaming."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator

from tomoservice.doctor.finding import Finding, ok, warning, wrong
from tomoservice.settings import Settings

WAIT_S = 5.0
CONNECTIONS = 30
"""What a server process may open: catalogue and tables, fifteen each."""


def check_database(settings: Settings) -> Iterator[Finding]:
    """Look at the catalogue's database."""
    if settings.service.database is None:
        yield _check_sqlite(settings)
    else:
        uri = settings.service.database.get_secret_value()
        yield asyncio.run(_check_postgresql(uri, settings.service.workers))


def _check_sqlite(settings: Settings) -> Finding:
    file = settings.data_folder / "catalog.db"
    if not file.exists():
        return ok("database", f"SQLite; {file} is made at the first start")
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=WAIT_S)
        try:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        state = str(error)
    if state != "ok":
        return wrong(
            "database",
            f"{file}: {state}",
            "stop the service, put the file aside, start anew and run `tomoservice catalog rebuild`",
        )
    return ok("database", f"SQLite, {file} is sound")


async def _check_postgresql(uri: str, workers: int) -> Finding:
    import asyncpg

    try:
        began = time.perf_counter()
        connection = await asyncpg.connect(uri, timeout=WAIT_S)
        took_ms = 1e3 * (time.perf_counter() - began)
    except ValueError:
        # Its text may quote the address, and with it a password.
        return wrong("database", "service.database is no address", "write postgresql://user@host:5432/name")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return wrong(
            "database",
            f"PostgreSQL does not answer: {type(error).__name__}: {error}",
            "start it, check service.database, and that pg_hba.conf lets this host in",
        )
    try:
        limit = int(await connection.fetchval("SHOW max_connections"))
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    said = f"PostgreSQL {version} answers in {took_ms:.0f} ms, takes {limit} connections"
    needed = workers * CONNECTIONS
    if needed > limit:
        return warning(
            "database",
            f"{said}; {workers} server processes may open {needed}",
            "raise max_connections in postgresql.conf, or start fewer workers",
        )
    return ok("database", said)


def check_streaming(settings: Settings) -> Iterator[Finding]:
    """Look at what carries news between processes and to subscribers."""
    if settings.service.streaming is None:
        yield ok("streaming", "in the memory of the one server process")
        return
    import redis

    try:
        with redis.Redis.from_url(
            settings.service.streaming.get_secret_value(),
            socket_connect_timeout=WAIT_S,
            socket_timeout=WAIT_S,
        ) as server:
            began = time.perf_counter()
            server.ping()
            took_ms = 1e3 * (time.perf_counter() - began)
            version = server.info("server")["redis_version"]
    except (redis.RedisError, ValueError) as error:
        yield wrong(
            "streaming",
            f"Redis does not answer: {type(error).__name__}: {error}",
            "start it and check service.streaming; without it no server process starts",
        )
    else:
        yield ok("streaming", f"Redis {version} answers in {took_ms:.0f} ms")
