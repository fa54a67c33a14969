"""`tomoservice rules`: check what is reconstructed without being asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tomoservice.cli.options import ServiceAddress, service_options

if TYPE_CHECKING:
    from callbacks.rules import Rules


@click.group()
def command() -> None:
    """Check the rules by which runs are reconstructed when they end, and describe their form."""


@command.command()
def schema() -> None:
    """Print the JSON schema of a file of rules, with help texts."""
    from callbacks.rule_file import rules_schema

    click.echo(json.dumps(rules_schema(), indent=2, ensure_ascii=False))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--run", help="Say what becomes of this run: its uid, a unique beginning of it, or `last`.")
@click.option(
    "--start",
    "start_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Say what becomes of a run with the start document in this file (YAML or JSON).",
)
@service_options
def check(service: ServiceAddress, file: Path, run: str | None, start_file: Path | None) -> None:
    """Check the rules in FILE (YAML or JSON), and say which of them applies to a run, and why.

    Exit status 1 and one line for every wrong field if they are not valid.
    """
    from callbacks.rule_file import read_rules

    if run is not None and start_file is not None:
        raise click.UsageError("give --run or --start, not both")
    rules = read_rules(file)
    count = len(rules.rules)
    click.echo(f"{file}: valid, {count} rule{'' if count == 1 else 's'}")
    if run is not None:
        start, stop = _documents(service, run)
        _explain(rules, start, stop)
    elif start_file is not None:
        _explain(rules, _read_start(start_file), None)


def _documents(service: ServiceAddress, run: str) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    from tomoservice.catalog.finding import resolve_run
    from tomoservice.catalog.nodes import find_run

    with service.connected() as tomo:
        metadata = find_run(tomo.root, resolve_run(tomo.root, run)).metadata
        return dict(metadata.get("start") or {}), metadata.get("stop")


def _read_start(file: Path) -> Mapping[str, Any]:
    from tomoservice.recipe.text import read_yaml

    content = read_yaml(file.read_text("utf-8"), name=str(file))
    if not isinstance(content, Mapping):
        raise click.ClickException(f"{file}: wants a mapping, the content of a start document")
    return content


def _explain(rules: Rules, start: Mapping[str, Any], stop: Mapping[str, Any] | None) -> None:
    for line in rules.explain(start):
        click.echo(line)
    decision = rules.decide(start, stop)
    if not decision.reconstruct:
        click.echo(f"not reconstructed: {decision.reason}")
        return
    recipe = decision.recipe
    if recipe is None:
        recipe = "that of the trigger (default)"
    elif isinstance(recipe, Mapping):
        recipe = f"{recipe.get('name') or 'its own'} (as it stands in the rules or the plan)"
    click.echo(
        f"reconstructed, as {decision.reason}: recipe {recipe}, volume {decision.volume.value}, "
        f"priority {decision.priority.value}"
    )
