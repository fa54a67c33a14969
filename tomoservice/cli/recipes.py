"""`tomoservice recipes`: saved recipes of a service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tomoservice.cli.many import each
from tomoservice.cli.options import Limits, ServiceAddress, service_options

if TYPE_CHECKING:
    from tomoservice.catalog.recipe_records import SavedRecipe
    from tomoservice.recipe import Recipe

Interval = tuple[float | None, float | None]
FORMATS = click.Choice(["yaml", "json"])
NAME_HELP = "NAME may be NAME@REVISION, for an old revision of a recipe."

format_option = click.option("--format", "form", type=FORMATS, default="yaml", show_default=True, help="How.")


@click.group()
def command() -> None:
    """Save recipes in a service, find them again, and get one proposed for a scan.

    `tomoservice recipe` is for recipe files, and needs no service.
    """


@command.command("list")
@click.option("--energy", type=Limits(), help="Accepted for a scan with an energy from A to B, in keV.")
@click.option("--pixel-size", type=Limits(), help="Accepted for a scan with pixels from A to B, in um.")
@click.option("--sample", help="Accepted for a sample with this in its name.")
@click.option("--tag", "tags", multiple=True, help="Has this tag; may be given more than once.")
@click.option("--text", default="", help="Has these words in name, tags, note, description or methods.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the recipes.")
@service_options
def list_saved(
    service: ServiceAddress,
    energy: Interval | None,
    pixel_size: Interval | None,
    sample: str | None,
    tags: tuple[str, ...],
    text: str,
    *,
    as_json: bool,
) -> None:
    """List the saved recipes that satisfy every option, by name."""
    with service.connected() as tomo:
        found = tomo.recipes.search(
            energy_kev=energy, pixel_size_um=pixel_size, sample=sample, tags=tags, text=text
        )
    _print(found, as_json=as_json)


@command.command(epilog=NAME_HELP)
@click.argument("name")
@format_option
@service_options
def show(service: ServiceAddress, name: str, form: str) -> None:
    """Print the saved recipe NAME, with every default written out: a file that all other commands take."""
    with service.connected() as tomo:
        saved = tomo.recipes[name]
        scans = [accepted.describe() for accepted in tomo.recipes.accepted(saved.name)]
    by = f" by {saved.saved_by}" if saved.saved_by else ""
    head = [f"{saved.name}, revision {saved.revision}, saved on {saved.saved_on}{by}"]
    head += [f"tags: {', '.join(saved.tags)}"] if saved.tags else []
    _print_recipe(saved.recipe, form, [*head, *saved.note.splitlines(), *scans])


@command.command()
@click.argument("name")
@click.argument("recipe", metavar="FILE|NAME")
@click.option("--tag", "tags", multiple=True, help="Word to find it by; replaces those it has.")
@click.option("--note", help="What it is for, or what is new in this revision.")
@click.option("--accept-for", "runs", metavar="RUN", multiple=True, help="Say that it is good for this run.")
@service_options
def save(
    service: ServiceAddress,
    name: str,
    recipe: str,
    tags: tuple[str, ...],
    note: str | None,
    runs: tuple[str, ...],
) -> None:
    """Save a recipe file, or another recipe, under NAME; what has this name becomes an old revision."""
    with service.connected() as tomo:
        saved = tomo.recipes.save(name, recipe, tags=tags or None, note=note)
        click.echo(f"{saved.name}: revision {saved.revision}")
        _accept(tomo, saved.name, runs)


@command.command()
@click.argument("name")
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option(
    "--remove", multiple=True, metavar="TAG", help="Take this tag away; may be given more than once."
)
@service_options
def tag(service: ServiceAddress, name: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Add tags to the saved recipe NAME, and take others away. That makes no new revision."""
    with service.connected() as tomo:
        saved = tomo.recipes.tag(name, *tags, remove=remove)
    click.echo(f"{saved.name}: {', '.join(saved.tags) or 'no tags'}")


@command.command(epilog=NAME_HELP)
@click.argument("name")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@service_options
def accept(service: ServiceAddress, name: str, runs: tuple[str, ...]) -> None:
    """Say that the saved recipe NAME is good for a RUN: it is then proposed for scans like that one."""
    with service.connected() as tomo:
        _accept(tomo, name, runs)


@command.command()
@click.argument("run")
@format_option
@service_options
def propose(service: ServiceAddress, run: str, form: str) -> None:
    """Print the recipe that was accepted last for a scan like RUN, and why it is this one.

    Where there is none, it is the default that comes with the package.
    """
    from tomoservice.catalog.finding import resolve_run

    with service.connected() as tomo:
        proposal = tomo.recipes.propose(resolve_run(tomo.root, run))
    name = proposal.recipe.name
    accepted = proposal.acceptance
    title = name if accepted is None else f"{name}, revision {accepted.revision}"
    notes = [f"note: {caution}" for caution in proposal.cautions]
    _print_recipe(proposal.recipe, form, [f"{title}: {proposal.reason}", *notes])


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the recipes.")
@service_options
def history(service: ServiceAddress, name: str, *, as_json: bool) -> None:
    """List the revisions of the saved recipe NAME, the first one first."""
    with service.connected() as tomo:
        found = tomo.recipes.revisions(name)
    _print(found, as_json=as_json)


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@service_options
def delete(service: ServiceAddress, name: str, *, yes: bool) -> None:
    """Delete the saved recipe NAME with all its revisions. Reconstructions that used it keep theirs."""
    with service.connected() as tomo:
        saved = tomo.recipes[name]
        if not yes:
            click.confirm(f"Delete {saved.name} with its {saved.revision} revisions?", abort=True, err=True)
        tomo.recipes.delete(name)
    click.echo(f"{name}: deleted")


def _accept(tomo: Any, name: str, runs: tuple[str, ...]) -> None:
    from tomoservice.catalog.finding import resolve_run

    def accept_one(run: str) -> None:
        accepted = tomo.recipes.accept(name, resolve_run(tomo.root, run))
        click.echo(f"{accepted.name}: {accepted.describe()}: {accepted.conditions.describe()}")

    each(runs, accept_one)


def _print(found: list[SavedRecipe], *, as_json: bool) -> None:
    if not as_json:
        click.echo(repr(found))
        return
    content = [
        {
            "name": saved.name,
            "revision": saved.revision,
            "saved_at": saved.saved_at,
            "saved_by": saved.saved_by,
            "tags": list(saved.tags),
            "note": saved.note,
            "recipe": saved.recipe.dump(),
        }
        for saved in found
    ]
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _print_recipe(recipe: Recipe, form: str, head: list[str]) -> None:
    """Print a recipe; what is known of it stands above as comments, or on standard error for JSON."""
    if form == "json":
        for line in head:
            click.echo(line, err=True)
        click.echo(recipe.to_json())
        return
    for line in head:
        click.echo(f"# {line}")
    click.echo(recipe.to_yaml().rstrip())
