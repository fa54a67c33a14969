"""`tomoservice bench`: how quick the service is on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from tomoservice.errors import TomoserviceError

if TYPE_CHECKING:
    from tomoservice.benchmarks.table import Measurement

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where scans and volumes go meanwhile; a temporary folder by default.",
)
rounds_option = click.option(
    "--rounds", type=click.IntRange(1, 1000), help="Measurements of each kind.  [default: 20, 3 for overhead]"
)


@click.group()
def command() -> None:
    """Measure the service on this machine, against the engine alone and against what is promised.

    Each measurement simulates its own scans, starts a service of its own and removes both. The engine itself
    is measured by `make bench`.
    """


@command.command()
@folder_option
@rounds_option
@click.option("--columns", type=click.IntRange(64, 8192), default=1024, show_default=True, help="Width.")
@click.option("--angles", type=click.IntRange(16, 8192), default=721, show_default=True, help="Projections.")
def interactive(folder: Path | None, rounds: int | None, columns: int, angles: int) -> None:
    """How long a change of a parameter takes until its slice is there, alone and while a batch runs."""
    from tomoservice.benchmarks.interactive import measure_interactive

    _run(
        folder, lambda place: measure_interactive(place, rounds or 20, _tell, columns=columns, angles=angles)
    )


@command.command()
@folder_option
@rounds_option
@click.option("--columns", type=click.IntRange(64, 8192), default=1024, show_default=True, help="Width.")
@click.option("--angles", type=click.IntRange(16, 8192), default=721, show_default=True, help="Projections.")
def page(folder: Path | None, rounds: int | None, columns: int, angles: int) -> None:
    """How long the web page takes from a move of the axis slider to the new picture, in a real browser.

    Needs Chromium, and Playwright to drive it (pip install playwright).
    """
    from tomoservice.benchmarks.page import measure_page

    _run(folder, lambda place: measure_page(place, rounds or 20, _tell, columns=columns, angles=angles))


@command.command()
@folder_option
@rounds_option
@click.option("--size", type=click.IntRange(64, 4096), default=512, show_default=True, help="Of the volume.")
@click.option("--angles", type=click.IntRange(16, 8192), default=600, show_default=True, help="Projections.")
def overhead(folder: Path | None, rounds: int | None, size: int, angles: int) -> None:
    """What a whole reconstruction through the service takes, as a multiple of the engine alone."""
    from tomoservice.benchmarks.overhead import measure_overhead

    _run(folder, lambda place: measure_overhead(place, rounds or 3, _tell, size=size, angles=angles))


@command.command()
@folder_option
@click.option("--size", type=click.IntRange(64, 4096), default=512, show_default=True, help="Of the volume.")
@click.option("--angles", type=click.IntRange(16, 8192), default=600, show_default=True, help="Projections.")
def ways(folder: Path | None, size: int, angles: int) -> None:
    """How long three ways take from the last frame to a volume, and whether they give the same one.

    Refine, save, batch; parameters from a file, batch; direct, without batch and database.
    """
    from tomoservice.benchmarks.ways import measure_ways

    _run(folder, lambda place: measure_ways(place, _tell, size=size, angles=angles))


@command.command()
@folder_option
@click.option("--scans", type=click.IntRange(16, 100000), default=200, show_default=True, help="How many.")
@click.option("--seconds", type=click.FloatRange(10), help="Begin no scan after so long.")
def soak(folder: Path | None, scans: int, seconds: float | None) -> None:
    """Whether memory, threads, open files or waiting times grow over many short scans.

    Simulated beamline, RunEngine, service and status PVs, all in processes of their own. The exit status is 1
    if anything grows beyond what noise explains. `undecided` is what noise hides: more scans would tell.
    With a folder, what was counted after each scan stays in it, in soak.csv.
    """
    from profiles.sim.soak import soak as run_soak

    table = None if folder is None else folder / "soak.csv"
    rows = _run(folder, lambda place: run_soak(place, scans, _tell, seconds=seconds, table=table))
    grown = [row.work for row in rows if row.verdict.startswith("NOT")]
    if grown:
        raise TomoserviceError(f"grows from scan to scan: {'; '.join(grown)}")


def _run(folder: Path | None, measure: Callable[[Path], list[Measurement]]) -> list[Measurement]:
    from tomoservice.benchmarks.table import as_markdown

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tomoservice-bench-", dir=folder) as place:
        rows = measure(Path(place))
    click.echo(as_markdown(rows))
    return rows


def _tell(stage: str) -> None:
    click.echo(stage, err=True)
