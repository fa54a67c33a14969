"""`tomoservice live`: reconstruct scans while they go on, for a service that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from tomoservice.cli.connecting import api_key_file_option, direct_raw_option, service_address, uri_option
from tomoservice.cli.serve import data_option, settings_option


@click.command()
@uri_option
@api_key_file_option
@data_option
@direct_raw_option
@settings_option
def command(
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    raw_folders: tuple[Path, ...],
    settings_file: Path | None,
) -> None:
    """Reconstruct scans while they go on, until Ctrl-C.

    Follows every run that begins at a service and keeps its live reconstruction up to date: three slices and
    a small volume below `live/`. `tomoservice serve` starts such a process of its own, unless the setting
    `live.enabled` is false; then this one can run on another host.
    """
    from tomoservice.live.process import run_live
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    service = {"raw_folders": raw_folders or None}
    settings = load_settings(settings_file, {"data": data, "conductor": conductor, "service": service})
    address, api_key = service_address(settings)
    if address is None:
        raise click.UsageError(
            f"no service runs in {settings.data_folder}; say where it is with --uri, or by conductor.uri"
        )
    run_live(address, api_key, settings)
