"""`tomoservice serve`: Tiled and a worker in one command, on one port."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tomoservice.logs import quiet_libraries

if TYPE_CHECKING:
    from tomoservice.service.folder import ServiceInfo

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for catalogue, volumes and logs.  [default: tomoservice-data]",
)
settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings (YAML); environment variables TOMOSERVICE__... and flags override it.",
)


@click.command()
@data_option
@click.option("--host", help="Address to listen on; 0.0.0.0 for the whole network.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 for a free one.  [default: 8000]")
@click.option(
    "--raw-folder",
    "raw_folders",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder with raw files that may be served; may be given more than once.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Server processes behind the port; more than one needs PostgreSQL and Redis.  [default: 1]",
)
@settings_option
def command(
    data: Path | None,
    host: str | None,
    port: int | None,
    raw_folders: tuple[Path, ...],
    workers: int | None,
    settings_file: Path | None,
) -> None:
    """Start the service, and stop it with Ctrl-C.

    One process serves Tiled, another reconstructs whatever is queued. Everything lives in the data folder
    and is there again after a restart.
    """
    from tomoservice.service.server import serve
    from tomoservice.settings import load_settings

    service: dict[str, Any] = {
        "host": host,
        "port": port,
        "raw_folders": raw_folders or None,
        "workers": workers,
    }
    settings = load_settings(settings_file, {"data": data, "service": service})
    quiet_libraries()
    logging.getLogger("tomoservice").setLevel(logging.INFO)

    def tell(info: ServiceInfo) -> None:
        click.echo(f"page            {info.uri}/tomo/")
        click.echo(f"Tiled           {info.uri}/api/v1")
        click.echo(f"browse          {info.uri}/ui/browse")
        click.echo(f"data            {settings.data_folder}")
        click.echo(f"API key         in {settings.data_folder / 'api_key'} (for writing)")
        click.echo("Ctrl-C stops the service")

    click.echo("starting ...", err=True)
    serve(settings, on_ready=tell)
