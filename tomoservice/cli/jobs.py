"""`tomoservice jobs`: the reconstructions of a service, as a table that can stay up."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tomoservice.catalog.states import State
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.stopping import stop_signals

if TYPE_CHECKING:
    from tomoservice.client import Tomo
    from tomoservice.client.job_table import JobRow

LOOK_S = 0.1
"""How long Ctrl-C may take to be noticed, in seconds."""
STATES = tuple(state.value for state in State)
STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "spoilt": "red",
}


@click.command()
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="Only those in this state; may be given more than once.",
)
@click.option("--run", help="Only those of this run: its uid, a unique beginning of it, or `last`.")
@click.option(
    "-n", "--most", type=click.IntRange(1), default=20, show_default=True, help="List so many at most."
)
@click.option("--live", is_flag=True, help="Keep the table up to date until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole paths and messages.")
@service_options
def command(
    service: ServiceAddress,
    states: tuple[str, ...],
    run: str | None,
    most: int,
    every: float,
    *,
    live: bool,
    as_json: bool,
) -> None:
    """List reconstructions, the newest request first."""
    from rich.console import Console

    console = Console()
    if live and (as_json or not console.is_terminal):
        raise click.UsageError("--live wants a terminal, and no --json")
    with service.connected() as tomo:
        listing = _Listing(tomo, states, run, most)
        if live:
            _show_live(listing, console, every)
        elif as_json:
            click.echo(json.dumps([asdict(row) for row in listing.rows()], indent=2))
        elif console.is_terminal:
            console.print(_table(listing.rows()))
        else:
            click.echo(repr(listing.plain()))


class _Listing:
    """What is to be listed; names of samples are asked for once."""

    def __init__(self, tomo: Tomo, states: tuple[str, ...], run: str | None, most: int) -> None:
        from tomoservice.catalog.finding import resolve_run
        from tomoservice.client.job_table import SampleNames

        self._tomo = tomo
        self._states = states
        self._run_uid = None if run is None else resolve_run(tomo.root, run)
        self._most = most
        self._samples = SampleNames(tomo.root)

    def rows(self) -> list[JobRow]:
        """Return what there is now."""
        from tomoservice.client.job_table import Outlook

        jobs = self._tomo.jobs(*self._states, run_uid=self._run_uid, most=self._most)
        outlook = Outlook(self._tomo.root)
        return [job.row(self._samples, outlook) for job in jobs]

    def plain(self) -> Any:
        """Return it as a table without colours or a limit of width."""
        from tomoservice.client.job_table import HEAD
        from tomoservice.client.tables import Table

        return Table(self.rows(), HEAD, lambda row: row.cells())


def _show_live(listing: _Listing, console: Any, every: float) -> None:
    from rich.live import Live
    from rich.text import Text

    from tomoservice.errors import ServiceUnavailableError

    with stop_signals() as stopped, Live(_table(listing.rows()), console=console, auto_refresh=False) as live:
        due = time.monotonic() + every
        while not stopped():
            if time.monotonic() < due:
                time.sleep(LOOK_S)
                continue
            due = time.monotonic() + every
            try:
                live.update(_table(listing.rows()), refresh=True)
            except ServiceUnavailableError as error:
                # It may come back; until then this is what there is to say.
                live.update(Text(str(error)), refresh=True)


def _table(rows: list[JobRow]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from tomoservice.client.job_table import HEAD

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in HEAD:
        # Long messages are wrapped, so that they can be read; what is copied from the table stays whole.
        table.add_column(title, overflow="fold", no_wrap=title in ("job", "state"))
    for row in rows:
        style = STYLES.get(row.state, "")
        cells = [
            Text(cell, style if title == "state" else "")
            for title, cell in zip(HEAD, row.cells(), strict=True)
        ]
        table.add_row(*cells)
    return table if rows else Text("(none)")
