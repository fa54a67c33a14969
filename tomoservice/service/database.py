"""The catalogue's database, made when it is not there yet."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.alembic_utils import DatabaseUpgradeNeeded, UninitializedDatabase, UnrecognizedDatabase
from tiled.catalog.alembic_constants import ALEMBIC_DIR
from tiled.catalog.core import REQUIRED_REVISION, check_catalog_database, initialize_database
from tiled.utils import ensure_specified_sql_driver

from tomoservice.errors import SettingsError

LOCK_FILE = "database.lock"
POSTGRESQL = "postgresql://"


def check_address(database: str) -> None:
    """Raise `SettingsError` unless ``service.database`` is the address of a PostgreSQL database."""
    if not database.startswith(POSTGRESQL):
        raise SettingsError(f"service.database has to begin with {POSTGRESQL}")


def prepare_database(uri: str, data_folder: Path) -> None:
    """Make the tables of the catalogue, unless they are there.

    Server processes of one data folder do this one after the other. Tiled would start a process of its own
    for it, whenever it starts: that takes two seconds, even where there is nothing to do.

    Parameters
    ----------
    uri : str
        Address of the database, PostgreSQL or SQLite.
    data_folder : Path
        Where the lock is.

    Raises
    ------
    SettingsError
        The database does not answer, belongs to another program, or to another version of Tiled.
    """
    with (data_folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(_prepare(uri))


async def _prepare(uri: str) -> None:
    shown = _shown(uri)
    engine = create_async_engine(ensure_specified_sql_driver(uri))
    try:
        await check_catalog_database(engine)
    except UninitializedDatabase:
        try:
            await initialize_database(engine)
            async with engine.begin() as connection:
                await connection.run_sync(_stamp)
        except (OSError, SQLAlchemyError) as error:
            raise SettingsError(f"no catalogue can be made in {shown}: {error}") from error
    except (DatabaseUpgradeNeeded, UnrecognizedDatabase) as error:
        raise SettingsError(" ".join(str(error).split())) from error
    except (OSError, SQLAlchemyError) as error:
        hint = ", and that PostgreSQL lets this host in" if uri.startswith(POSTGRESQL) else ""
        raise SettingsError(
            f"database {shown} does not answer ({type(error).__name__}: {error}); "
            f"check service.database{hint}"
        ) from error
    finally:
        await engine.dispose()


def _stamp(connection: Connection) -> None:
    """Note in a database of which version its tables are."""
    script = ScriptDirectory(str(ALEMBIC_DIR))
    MigrationContext.configure(connection).stamp(script, REQUIRED_REVISION)


def _shown(uri: str) -> str:
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise SettingsError("service.database is no address of a PostgreSQL database") from error
