"""`tomoservice catalog`: what to do when the catalogue is lost."""

from __future__ import annotations

from pathlib import Path

import click

from tomoservice.cli.connecting import api_key_file_option, connection, uri_option
from tomoservice.cli.serve import data_option, settings_option


@click.group()
def command() -> None:
    """Look after the catalogue."""


@command.command()
@uri_option
@api_key_file_option
@data_option
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@settings_option
def rebuild(
    uri: str | None,
    api_key_file: Path | None,
    data: Path | None,
    dry_run: bool,
    settings_file: Path | None,
) -> None:
    """Make the nodes of reconstructions that lie on disk and have none.

    A complete volume becomes `done` again; any other is `cancelled`, and goes on where it was once it is
    queued again. What was deleted on purpose and not swept yet comes back, too.
    """
    from tomoservice.housekeeping.rebuild import rebuild as make_again
    from tomoservice.settings import load_settings

    conductor = {"uri": uri, "api_key_file": api_key_file}
    settings = load_settings(settings_file, {"data": data, "conductor": conductor})
    made = failed = 0
    with connection(settings) as root:
        for item in make_again(root, settings, dry_run=dry_run):
            made, failed = made + item.made, failed + (not item.made)
            click.echo(f"{item.path}  {item.outcome if item.made else f'left alone: {item.outcome}'}")
    click.echo(f"{made} {'would be' if dry_run else 'were'} made, {failed} left alone")
