"""`tomoservice gallery`: what each stage of a recipe does, as a page with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tomoservice.cli.stopping import stop_signals

if TYPE_CHECKING:
    from tomoservice.gallery import Watcher

SMALLEST, LARGEST = 48, 2048


class SectionName(click.ParamType["str"]):
    """The name of a section of the gallery."""

    name = "section"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        from tomoservice.gallery import NAMES

        if value not in NAMES:
            self.fail(f"{value!r} is no section; there are {', '.join(NAMES)}", param, ctx)
        return str(value)


@click.command()
@click.argument("folder", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    metavar="PATH",
    help="A scan, or a folder that is searched for scans; may be given several times.",
)
@click.option(
    "--size",
    type=click.IntRange(SMALLEST, LARGEST),
    default=256,
    show_default=True,
    help="Detector columns of the simulated scans; 1.5 times as many projections.",
)
@click.option(
    "--only", type=SectionName(), multiple=True, help="Only this section; may be given several times."
)
@click.option("--overwrite", is_flag=True, help="Replace a gallery that stands there.")
def command(
    folder: Path, data: tuple[Path, ...], size: int, only: tuple[str, ...], *, overwrite: bool
) -> None:
    """Show what each stage does: reconstructions without and with it, side by side.

    Reconstructs simulated scans that each need one stage, and the measured scans given by --data, and
    writes one HTML page with its pictures into OUT_DIR.
    """
    from tomoservice.gallery import GalleryOptions, build_gallery

    options = GalleryOptions(size=size, data=data, only=only, overwrite=overwrite)
    with stop_signals() as stopped, _progress(stopped) as watcher:
        summary = build_gallery(folder, options, watcher)
    for line in summary.figures:
        click.echo(line)
    for reason in summary.skipped:
        click.echo(f"not computed: {reason}", err=True)
    click.echo(f"{summary.page}: {summary.comparisons} comparisons, {len(summary.skipped)} results missing")


@contextmanager
def _progress(stopped: Any) -> Iterator[Watcher]:
    """Tell on standard error what is being computed: a bar on a terminal, a line each elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from tomoservice.gallery import Watcher

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Watcher(begin=lambda title: click.echo(title, err=True), stopped=stopped)
        return
    columns = (TextColumn("{task.description:50.50}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        def begin(title: str) -> None:
            if bars.tasks[0].description:
                bars.advance(task)
            bars.update(task, description=title)

        yield Watcher(lambda count: bars.update(task, total=count), begin, stopped)
