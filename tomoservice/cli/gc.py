"""`tomoservice gc`: room on the disk."""

from __future__ import annotations

from pathlib import Path

import click

from tomoservice.cli.connecting import api_key_file_option, connection, uri_option
from tomoservice.cli.serve import data_option, settings_option


@click.command()
@uri_option
@api_key_file_option
@data_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--age",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help=(
        "How long something has to be untouched; drafts at least ten minutes, since they may still be "
        "written.  [default: the setting housekeeping.orphan_age_s, a day]"
    ),
)
@settings_option
def command(
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    dry_run: bool,
    age: float | None,
    settings_file: Path | None,
) -> None:
    """Remove volumes whose nodes were deleted, what died writers left, and slabs beyond their quota.

    Conductors do the same every hour. Runs on a machine that sees the folder of volumes.
    """
    from tomoservice.housekeeping.space import free_bytes, readable_size
    from tomoservice.housekeeping.sweep import sweep
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    settings = load_settings(settings_file, {"data": data, "conductor": conductor})
    with connection(settings) as root:
        swept = sweep(root, settings, age_s=age, dry_run=dry_run)
    for item in swept:
        click.echo(f"{readable_size(item.size_bytes):>12}  {item.path}  {item.reason}")
    total = readable_size(sum(item.size_bytes for item in swept))
    free = readable_size(free_bytes(settings.volumes_folder))
    click.echo(f"{total} {'would be' if dry_run else 'were'} removed; {free} are free")
