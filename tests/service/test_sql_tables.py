"""Event tables of the embedded database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa
from tiled.storage import acquire_storage, parse_storage, release_storage
from tiled.structures.data_source import DataSource
from tiled.structures.table import TableStructure

from tiled_config.sql_tables import SerialSQLAdapter


def test_duckdb_keeps_to_its_memory(tmp_path: Path) -> None:
    storage = acquire_storage(parse_storage(f"duckdb:///{tmp_path}/tables.duckdb"))
    structure = TableStructure.from_arrow_table(pa.table({"x": [1.0, 2.0]}))
    source = DataSource(
        structure_family="table",
        structure=structure,
        mimetype="application/x-tiled-sql-table",
        parameters={},
        assets=[],
        management="writable",
    )
    try:
        SerialSQLAdapter.init_storage(storage, source, ["a"])
        with closing(storage.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('memory_limit')")
            assert cursor.fetchone() == ("244.1 MiB",)
    finally:
        release_storage(storage)
