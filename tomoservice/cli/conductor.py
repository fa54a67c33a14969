"""`tomoservice conductor`: a worker for a service that runs elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tomoservice.cli.connecting import direct_raw_option
from tomoservice.cli.serve import settings_option

if TYPE_CHECKING:
    from tomoservice.settings import Settings


@click.command()
@click.option(
    "--uri", help="Address of the service, http://host:port; the setting `conductor.uri` does as well."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a key that may write; the environment variable TILED_API_KEY does as well.",
)
@click.option(
    "--volumes",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for volumes, on storage that the server reads too; the setting `volumes` does as well.",
)
@direct_raw_option
@settings_option
def command(
    uri: str | None,
    api_key_file: Path | None,
    volumes: Path | None,
    raw_folders: tuple[Path, ...],
    settings_file: Path | None,
) -> None:
    """Reconstruct what is queued at a service, until Ctrl-C.

    `tomoservice serve` starts a conductor of its own; more of them, here or on other hosts, share the work.
    """
    from tomoservice.conductor.process import run_conductor
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    service = {"raw_folders": raw_folders or None}
    settings = load_settings(settings_file, {"volumes": volumes, "conductor": conductor, "service": service})
    if settings.conductor.uri is None:
        raise click.UsageError("say where the service is with --uri, or by the setting conductor.uri")
    if settings.volumes is None:
        raise click.UsageError("say where volumes go with --volumes: a folder that the server reads too")
    run_conductor(settings.conductor.uri, _api_key(settings), settings)


def _api_key(settings: Settings) -> str:
    from tomoservice.settings import read_api_key

    if settings.conductor.api_key_file is not None:
        return read_api_key(settings.conductor.api_key_file)
    api_key = os.environ.get("TILED_API_KEY")
    if not api_key:
        raise click.UsageError(
            "a key that may write has to stand in the environment variable TILED_API_KEY, "
            "or in the file that --api-key-file or the setting conductor.api_key_file names"
        )
    return api_key
