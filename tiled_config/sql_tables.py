"""Event tables of the embedded database, one thread at a time and within a little memory.

Tiled 0.2.20 has one connection to a DuckDB file, which its threads share without a lock: reading a table
while a row is being appended, as happens when somebody looks at a step scan that goes on, ends the whole
server with a segmentation fault. A pool of connections, as to PostgreSQL, needs no lock.

DuckDB keeps what it has read until most of the machine's memory is full, unless it is told otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, ClassVar

from tiled.adapters.sql import SQLAdapter
from tiled.storage import SQLStorage
from tiled.structures.data_source import DataSource
from tiled.structures.table import TableStructure

MEMORY_LIMIT = "256MB"
"""Of DuckDB's buffers; what does not fit goes to disk."""


class SerialSQLAdapter(SQLAdapter):
    """Tiled's tables in SQL databases, without two threads on one connection."""

    _turn: ClassVar[threading.RLock] = threading.RLock()

    @classmethod
    def init_storage(
        cls, storage: Any, data_source: DataSource[TableStructure], path_parts: list[str]
    ) -> Any:
        """Make room for a table."""
        with _alone(storage, cls._turn):
            return super().init_storage(storage, data_source, path_parts)

    def append_partition(self, *arguments: Any, **named: Any) -> Any:
        """Append rows."""
        with _alone(self.storage, self._turn):
            return super().append_partition(*arguments, **named)

    def _read_full_table_or_partition(self, *arguments: Any, **named: Any) -> Any:
        with _alone(self.storage, self._turn):
            return super()._read_full_table_or_partition(*arguments, **named)


@contextmanager
def _alone(storage: Any, turn: threading.RLock) -> Iterator[None]:
    """Wait for one's turn where there is only one connection."""
    if isinstance(storage, SQLStorage) and storage.dialect != "duckdb":
        yield
        return
    with turn:
        if isinstance(storage, SQLStorage):
            # Of the whole database, not only of this connection; it takes a millisecond.
            with closing(storage.connect()) as connection, connection.cursor() as cursor:
                cursor.execute(f"SET GLOBAL memory_limit = '{MEMORY_LIMIT}'")
        yield
