"""The catalogue's database, made when it is not there yet."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import sys

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from tiled.alembic_utils import DatabaseUpgradeNeeded, UninitializedDatabase, UnrecognizedDatabase
from tiled.catalog.core import check_catalog_database
from tiled.utils import ensure_specified_sql_driver

from tomoservice.errors import SettingsError
from tomoservice.settings import Settings

LOCK_FILE = "database.lock"
POSTGRESQL = "postgresql://"
# The address may hold a password, which an argument would show to everybody.
INITIALISE = (
    "import sys; from tiled.commandline._catalog import init; "
    "init(sys.stdin.read().strip(), if_not_exists=True)"
)


def prepare_database(settings: Settings) -> None:
    """Make the tables of the catalogue in ``service.database``, unless they are there.

    Server processes of one data folder do this one after the other.

    Raises
    ------
    SettingsError
        The database does not answer, belongs to another program, or to another version of Tiled.
    """
    if settings.service.database is None:
        return
    uri = settings.service.database.get_secret_value()
    if not uri.startswith(POSTGRESQL):
        raise SettingsError(f"service.database has to begin with {POSTGRESQL}")
    with (settings.data_folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not asyncio.run(_is_initialised(uri)):
            made = subprocess.run(
                [sys.executable, "-c", INITIALISE], input=uri, text=True, capture_output=True, check=False
            )
            if made.returncode != 0:
                reason = made.stderr.strip().splitlines()[-1:]
                raise SettingsError(f"no catalogue can be made in {_shown(uri)}: {' '.join(reason)}")


async def _is_initialised(uri: str) -> bool:
    shown = _shown(uri)
    engine = create_async_engine(ensure_specified_sql_driver(uri))
    try:
        await check_catalog_database(engine)
    except UninitializedDatabase:
        return False
    except (DatabaseUpgradeNeeded, UnrecognizedDatabase) as error:
        raise SettingsError(" ".join(str(error).split())) from error
    except (OSError, SQLAlchemyError) as error:
        raise SettingsError(
            f"database {shown} does not answer ({type(error).__name__}: {error}); "
            "check service.database, and that PostgreSQL lets this host in"
        ) from error
    finally:
        await engine.dispose()
    return True


def _shown(uri: str) -> str:
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise SettingsError("service.database is no address of a PostgreSQL database") from error
