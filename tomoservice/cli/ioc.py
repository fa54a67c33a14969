"""`tomoservice ioc`: the service in EPICS."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from tomoservice.cli.connecting import api_key_file_option, service_address, uri_option
from tomoservice.cli.serve import data_option, settings_option

INTERFACES = "EPICS_CAS_INTF_ADDR_LIST"


@click.command()
@click.option("--prefix", default="TOMO:", show_default=True, help="What the names of the PVs begin with.")
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    help="Address of this machine to answer on, 0.0.0.0 for all; may be given more than once.  "
    f"[default: {INTERFACES}, else 127.0.0.1]",
)
@uri_option
@api_key_file_option
@data_option
@settings_option
def command(
    prefix: str,
    interfaces: tuple[str, ...],
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    settings_file: Path | None,
) -> None:
    """Show the service in EPICS, until Ctrl-C.

    Status PVs mirror the newest live reconstruction and the newest reconstruction in Tiled, three live slices
    included; control PVs ask for reconstructions and steer what runs. While the service is away the PVs say
    so. Everything that is set is kept in Tiled: an IOC that starts again shows the same.
    """
    from profiles.status.launch import run_ioc
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    settings = load_settings(settings_file, {"data": data, "conductor": conductor})
    address, api_key = service_address(settings)
    if address is None:
        raise click.UsageError(
            f"no service has run in {settings.data_folder}; say where it is with --uri, or by conductor.uri"
        )
    logging.getLogger("profiles").setLevel(logging.INFO)
    known = interfaces or tuple(os.environ.get(INTERFACES, "").split()) or ("127.0.0.1",)
    click.echo(f"PVs             {prefix}State and others, on {', '.join(known)}", err=True)
    click.echo(f"service         {address}", err=True)
    click.echo("Ctrl-C stops the IOC", err=True)
    run_ioc(prefix, address, api_key, known)
