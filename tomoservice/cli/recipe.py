"""`tomoservice recipe`: show, check and describe recipes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tomoservice.cli.options import RecipeName
from tomoservice.recipe import Recipe, read_recipe, recipe_schema, shipped_recipe, shipped_recipes

FORMATS = click.Choice(["yaml", "json"])


@click.group()
def command() -> None:
    """Show, check and describe recipes: the description of a reconstruction, stage by stage."""


@command.command()
def schema() -> None:
    """Print the JSON schema of a recipe, with titles, units and help texts."""
    click.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check the recipe in FILE (YAML or JSON) and print its hash.

    Exit status 1 and one line with every wrong field if it is not valid.
    """
    recipe = read_recipe(file)
    click.echo(f"{file}: valid (schema version {recipe.schema_version}, hash {recipe.hash[:16]})")


@command.command()
@click.argument("name", type=RecipeName())
@click.option("--format", "form", type=FORMATS, default="yaml", show_default=True, help="How to print it.")
def show(name: Recipe, form: str) -> None:
    """Print the recipe NAME, which the package ships, or a recipe file, with every default written out."""
    click.echo(name.to_json() if form == "json" else name.to_yaml().rstrip())


@command.command("list")
def list_shipped() -> None:
    """List the recipes that the package ships."""
    for name in shipped_recipes():
        click.echo(f"{name:16} {shipped_recipe(name).description}")
