"""`tomoservice settings`: what is set, where it was set, and what can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tomoservice.cli.serve import settings_option


class Assignment(click.ParamType["tuple[str, Any]"]):
    """NAME=VALUE, with the value as it would stand in a settings file."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Return name and value."""
        import yaml

        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not (sign and name):
            self.fail(f"{value!r} is not of the form NAME=VALUE, service.port=9000 say", param, ctx)
        try:
            return name, yaml.safe_load(text)
        except yaml.YAMLError:
            self.fail(f"{text!r} is no value that could stand in a settings file", param, ctx)


@click.command()
@click.option("--show", is_flag=True, help="Print every setting with its value and where that came from.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of a settings file.")
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
@click.option(
    "--set",
    "assignments",
    type=Assignment(),
    multiple=True,
    help="Set this, as a flag of a command would: service.port=9000. May be given more than once.",
)
@settings_option
def command(
    settings_file: Path | None,
    assignments: tuple[tuple[str, Any], ...],
    *,
    show: bool,
    schema: bool,
    as_json: bool,
) -> None:
    """Show the settings that `tomoservice serve` and `conductor` would have here.

    Later sources win over earlier ones: default, file, environment, flag. Secrets are not shown. An unknown
    setting, in the file or in the environment, is an error.
    """
    from tomoservice.settings_report import effective_settings, settings_schema

    if show == schema:
        raise click.UsageError("give one of --show and --schema")
    if schema:
        click.echo(json.dumps(settings_schema(), indent=2, ensure_ascii=False))
        return
    found = effective_settings(settings_file, _tree(assignments))
    if as_json:
        content = {item.name: {"value": item.shown, "origin": item.origin.value} for item in found}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    width = max(len(item.name) for item in found)
    values = [json.dumps(item.shown, ensure_ascii=False) for item in found]
    for item, value in zip(found, values, strict=True):
        click.echo(f"{item.name:{width}}  {value:{max(map(len, values))}}  {item.origin.value}")


def _tree(assignments: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in assignments:
        *sections, key = name.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise click.UsageError(f"--set {name}: {section} is set to a single value before")
        inner[key] = value
    return tree
