"""`tomoservice submit`: queue reconstructions of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tomoservice.cli.many import each
from tomoservice.cli.options import (
    RotationAxis,
    RowRange,
    ServiceAddress,
    adapted,
    priority_option,
    service_options,
)

if TYPE_CHECKING:
    from tomoservice.client import Job, Tomo
    from tomoservice.recipe import Recipe

RUN_HELP = "RUN is the uid of a run, a unique beginning of it, or `last`."


@click.command(epilog=RUN_HELP)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--recipe",
    metavar="FILE|NAME",
    help="Recipe file, or the name of a recipe: a saved one (NAME or NAME@REVISION), or one that the package "
    "ships.  [default: default]",
)
@click.option("--proposed", is_flag=True, help="Take the recipe that was accepted last for scans like this.")
@click.option(
    "--rotation-axis", type=RotationAxis(), help="Where the axis is, instead of what the recipe says."
)
@click.option("--rows", type=RowRange(), help="Detector rows, from A to before B.")
@priority_option("normal")
@click.option(
    "--virtual",
    is_flag=True,
    help="Describe it, but do not queue it: its volume can be read all the same, and only what is read of it "
    "is computed, until `tomoservice retry` queues it.",
)
@click.option("--wait", is_flag=True, help="Wait until all are finished; exit status 1 if one has failed.")
@service_options
def command(
    service: ServiceAddress,
    runs: tuple[str, ...],
    recipe: str | None,
    rotation_axis: float | str | None,
    rows: tuple[int, int | None] | None,
    priority: str,
    *,
    proposed: bool,
    virtual: bool,
    wait: bool,
) -> None:
    """Queue a reconstruction of every RUN and print its path.

    The service's conductors work through the queue; `tomoservice jobs` shows how far they are.
    """
    from tomoservice.catalog.finding import resolve_run

    if proposed and recipe is not None:
        raise click.UsageError("--recipe and --proposed: give one of them")
    if virtual and wait:
        raise click.UsageError("--virtual and --wait: give one of them; what is virtual is never finished")
    jobs: list[Job] = []
    with service.connected() as tomo:

        def submit(run: str) -> None:
            uid = resolve_run(tomo.root, run)
            chosen = _proposed(tomo, uid) if proposed else tomo.recipes.resolve(recipe or "default")
            wanted = adapted(chosen, rows, rotation_axis)
            jobs.append(tomo.reconstruct(uid, wanted, priority=priority, virtual=virtual))
            click.echo(jobs[-1].path)

        def follow(path: str) -> None:
            tomo.job(path).wait()
            click.echo(f"{path} is done", err=True)

        try:
            each(runs, submit)
        finally:
            if wait:
                each((job.path for job in jobs), follow)


def _proposed(tomo: Tomo, run_uid: str) -> Recipe:
    proposal = tomo.recipes.propose(run_uid)
    click.echo(f"{proposal.recipe.name}: {proposal.reason}", err=True)
    for caution in proposal.cautions:
        click.echo(f"note: {caution}", err=True)
    return proposal.recipe
