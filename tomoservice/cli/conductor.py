"""`tomoservice conductor`: a worker for a service that runs elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tomoservice.cli.serve import settings_option


@click.command()
@click.argument("uri")
@click.option(
    "--volumes",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for volumes, on storage that the server reads too; the setting `volumes` does as well.",
)
@settings_option
def command(uri: str, volumes: Path | None, settings_file: Path | None) -> None:
    """Reconstruct what is queued at the service at URI, until Ctrl-C.

    The key that may write is taken from the environment variable TILED_API_KEY. `tomoservice serve` starts
    a conductor of its own; more of them share the work.
    """
    from tomoservice.conductor.process import run_conductor
    from tomoservice.settings import load_settings

    api_key = os.environ.get("TILED_API_KEY")
    if not api_key:
        raise click.UsageError("the environment variable TILED_API_KEY must hold a key that may write")
    settings = load_settings(settings_file, {"volumes": volumes})
    if settings.volumes is None:
        raise click.UsageError("say where volumes go with --volumes: a folder that the server reads too")
    run_conductor(uri, api_key, settings)
