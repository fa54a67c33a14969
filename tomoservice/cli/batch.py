"""`tomoservice batch`: many runs by one recipe or several, as one thing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tomoservice.cli.options import ServiceAddress, priority_option, service_options
from tomoservice.cli.steering import find_batch, steer

if TYPE_CHECKING:
    from tomoservice.catalog.batch_standing import BatchSummary
    from tomoservice.client import Batch

BATCH_HELP = (
    "BATCH is the id or the name of a batch, of which a unique beginning is enough; `last` is the newest. "
    "ITEM is the number that `tomoservice batch show` prints."
)


@click.group()
def command() -> None:
    """Reconstruct many runs by one recipe or several, and steer that as one.

    Every item is a reconstruction like any other: one that fails does not stop the others, and `tomoservice
    jobs`, `pause`, `cancel`, `export` work on it.
    """


@command.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--recipe",
    "recipes",
    metavar="FILE|NAME",
    multiple=True,
    help="Recipe file, or the name of a recipe; given more than once, every run is reconstructed by each.  "
    "[default: default]",
)
@click.option("--name", default="", help="What to call the batch.")
@priority_option("background")
@click.option("--wait", is_flag=True, help="Wait until it is finished; exit status 1 if an item has failed.")
@service_options
def submit(
    service: ServiceAddress,
    runs: tuple[str, ...],
    recipes: tuple[str, ...],
    name: str,
    priority: str,
    *,
    wait: bool,
) -> None:
    """Queue a reconstruction of every RUN by every recipe, and print the batch's id.

    RUN is the uid of a run, a unique beginning of it, or `last`.
    """
    from tomoservice.catalog.finding import resolve_run

    with service.connected() as tomo:
        uids = [resolve_run(tomo.root, run) for run in runs]
        batch = tomo.batch(uids, list(recipes) or "default", name=name, priority=priority)
        click.echo(batch.id)
        if wait:
            summary = batch.wait()
            click.echo(str(summary), err=True)
            _check(summary)


@command.command(epilog=BATCH_HELP)
@click.argument("batch")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--recipe",
    "recipes",
    metavar="FILE|NAME",
    multiple=True,
    help="Recipe file, or the name of a recipe; given more than once, every run is reconstructed by each.  "
    "[default: the recipes that the batch began with]",
)
@service_options
def add(service: ServiceAddress, batch: str, runs: tuple[str, ...], recipes: tuple[str, ...]) -> None:
    """Add every RUN by every recipe to a batch, and print the new items.

    It may be paused, or finished. RUN is the uid of a run, a unique beginning of it, or `last`.
    """
    from tomoservice.catalog.finding import resolve_run

    with service.connected() as tomo:
        found = tomo.find_batch(batch)
        numbers = found.add([resolve_run(tomo.root, run) for run in runs], list(recipes) or None)
        items = {item.number: item for item in found.record.items}
        for number in numbers:
            click.echo(f"{number}  {items[number].path}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def list_batches(service: ServiceAddress, *, as_json: bool) -> None:
    """List the batches, the newest first."""
    with service.connected() as tomo:
        found = tomo.batches
        click.echo(json.dumps([_facts(batch) for batch in found], indent=2) if as_json else repr(found))


@command.command(epilog=BATCH_HELP)
@click.argument("batch")
@click.option("--wait", is_flag=True, help="Wait until it is finished; exit status 1 if an item has failed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole paths and messages.")
@service_options
def show(service: ServiceAddress, batch: str, *, wait: bool, as_json: bool) -> None:
    """Show the items of a batch in the order in which they are worked on, and how it went so far."""
    with service.connected() as tomo:
        found = tomo.find_batch(batch)
        summary = found.wait() if wait else found.summary
        if as_json:
            items = [{**asdict(item), "path": item.item.path} for item in found.items]
            click.echo(json.dumps({**_facts(found), "items": items}, indent=2))
        else:
            click.echo(repr(found.items))
            click.echo(f"{found.id}: {found.state.value}; {summary}")
        if wait:
            _check(summary)


@command.command(epilog=BATCH_HELP)
@click.argument("batches", metavar="BATCH...", nargs=-1, required=True)
@service_options
def pause(service: ServiceAddress, batches: tuple[str, ...]) -> None:
    """Begin no item until the batch is resumed, and put aside what is being computed."""
    steer(service, batches, find_batch, lambda batch: batch.pause(), lambda _: "paused")


@command.command(epilog=BATCH_HELP)
@click.argument("batches", metavar="BATCH...", nargs=-1, required=True)
@service_options
def resume(service: ServiceAddress, batches: tuple[str, ...]) -> None:
    """Go on with a paused batch."""
    steer(service, batches, find_batch, lambda batch: batch.resume(), lambda _: "goes on")


@command.command(epilog=BATCH_HELP)
@click.argument("batches", metavar="BATCH...", nargs=-1, required=True)
@service_options
def cancel(service: ServiceAddress, batches: tuple[str, ...]) -> None:
    """End everything that is not finished."""
    steer(service, batches, find_batch, lambda batch: batch.cancel(), lambda _: "asked to stop")


@command.command(epilog=BATCH_HELP)
@click.argument("batches", metavar="BATCH...", nargs=-1, required=True)
@service_options
def stop(service: ServiceAddress, batches: tuple[str, ...]) -> None:
    """End everything that is not finished, and keep what there is of the volumes readable."""
    steer(
        service,
        batches,
        find_batch,
        lambda batch: batch.stop(),
        lambda _: "asked to stop; what is computed stays readable",
    )


@command.command(epilog=BATCH_HELP)
@click.argument("batch")
@service_options
def retry(service: ServiceAddress, batch: str) -> None:
    """Queue the failed items again; and those that were ended, if the batch was cancelled or stopped."""
    with service.connected() as tomo:
        found = tomo.find_batch(batch)
        queued = found.retry()
        for path in queued:
            click.echo(f"{path}: queued again")
        if not queued:
            click.echo(f"{found.path}: nothing has failed", err=True)


@command.command(epilog=BATCH_HELP)
@click.argument("batch")
@click.argument("items", metavar="ITEM...", nargs=-1, type=click.IntRange(1), required=True)
@click.option("--to", type=click.IntRange(1), help="Move the one ITEM to this place instead; 1 is first.")
@service_options
def order(service: ServiceAddress, batch: str, items: tuple[int, ...], to: int | None) -> None:
    """Work on these ITEMs first, in this order; the others follow as they stood."""
    if to is not None and len(items) > 1:
        raise click.UsageError("--to moves one ITEM")
    with service.connected() as tomo:
        found = tomo.find_batch(batch)
        if to is None:
            found.reorder(items)
        else:
            found.move(items[0], to)
        click.echo(repr(found.items))


def _check(summary: BatchSummary) -> None:
    """Raise an error if an item has failed, which gives the exit status."""
    from tomoservice.errors import CatalogError

    if summary.failed:
        raise CatalogError(
            f"{summary.failed} of {summary.items} items failed; `tomoservice batch show` says why"
        )


def _facts(batch: Batch) -> dict[str, Any]:
    said, summary = batch.record.metadata, batch.summary
    return {
        "id": batch.id,
        "name": said.name,
        "state": batch.state.value,
        "priority": said.priority.value,
        "requested_by": said.requested_by,
        "requested_at": said.requested_at,
        "message": said.message,
        "summary": {**asdict(summary), "slices_per_s": summary.slices_per_s},
    }
