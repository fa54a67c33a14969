"""The service that a command works with: by option, by settings, or the one of the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tomoservice.settings import Settings

uri_option = click.option(
    "--uri",
    help="Address of the service.  [default: the setting conductor.uri, or the service of the data folder]",
)
api_key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a key that may write.  [default: the setting, TILED_API_KEY, or that of the data folder]",
)
direct_raw_option = click.option(
    "--raw-folder",
    "raw_folders",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder below which raw files are read directly; others are read through the service. "
    "May be given more than once.",
)


def service_address(settings: Settings) -> tuple[str | None, str | None]:
    """Return address and key of the service that the settings mean; None for what cannot be known."""
    from tomoservice.service.folder import read_info, stored_api_key
    from tomoservice.settings import read_api_key

    folder = settings.data_folder
    info = read_info(folder)
    uri = settings.conductor.uri or (info.uri if info else None)
    given = settings.service.api_key
    if settings.conductor.api_key_file is not None:
        return uri, read_api_key(settings.conductor.api_key_file)
    key = os.environ.get("TILED_API_KEY") or (given.get_secret_value() if given else None)
    return uri, key or stored_api_key(folder)


@contextmanager
def connection(settings: Settings) -> Iterator[Any]:
    """Yield a Tiled client for the root of the service that the settings mean."""
    from tomoservice.catalog.transport import connect, disconnect

    uri, api_key = service_address(settings)
    if uri is None:
        raise click.UsageError(
            f"no service runs in {settings.data_folder}; say where it is with --uri, or by conductor.uri"
        )
    root = connect(uri, api_key)
    try:
        yield root
    finally:
        disconnect(root)
