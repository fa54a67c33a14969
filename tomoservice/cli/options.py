"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

from tomoservice.errors import RecipeError
from tomoservice.recipe import Recipe, load_recipe

INPUT_HELP = "INPUT is an HDF5 file (DXchange or NXtomo) or a directory of TIFF frames with a file of angles."

MEMORY_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class RotationAxis(click.ParamType["float | str"]):
    """A column, or `auto`."""

    name = "column|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the column, or "auto"."""
        if isinstance(value, float) or value == "auto":
            return float(value) if isinstance(value, float) else "auto"
        try:
            column = float(value)
        except ValueError:
            column = math.nan
        if not math.isfinite(column):
            self.fail(f"{value!r} is neither a detector column nor 'auto'", param, ctx)
        return column


class RowRange(click.ParamType["tuple[int, int | None]"]):
    """A half-open range of rows, A:B; either may be left out."""

    name = "A:B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Return the first row, and the row after the last or None."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d*):(\d*)", value)
        if not match:
            self.fail(f"{value!r} is not of the form A:B (first row, and the row after the last)", param, ctx)
        start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
        if stop is not None and stop <= start:
            self.fail(f"{value!r} holds no row; B must be greater than A", param, ctx)
        return start, stop


class MemorySize(click.ParamType["int"]):
    """A number of bytes with an optional unit K, M, G or T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
        try:
            size = int(float(match[1]) * MEMORY_UNITS[match[2]]) if match else 0
        except ValueError:
            size = 0
        if size <= 0:
            self.fail(f"{value!r} is no size; write 500M or 16G", param, ctx)
        return size


class RecipeName(click.ParamType["Recipe"]):
    """A recipe file, or the name of a recipe that the package ships."""

    name = "file|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Recipe:
        """Return the recipe."""
        if isinstance(value, Recipe):
            return value
        try:
            return load_recipe(value)
        except RecipeError as error:
            self.fail(str(error), param, ctx)


scan_input = click.argument("input_path", metavar="INPUT", type=click.Path(path_type=Path, exists=True))

angles_option = click.option(
    "--angles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Angles in degrees, one per projection (text or .npy), instead of those that the scan has.",
)

recipe_option = click.option(
    "--recipe",
    type=RecipeName(),
    default="default",
    show_default=True,
    help="Recipe file (YAML or JSON), or the name of one that the package ships.",
)

rows_option = click.option("--rows", type=RowRange(), help="Detector rows, from A to before B.")

memory_option = click.option(
    "--memory",
    type=MemorySize(),
    help="Memory budget, 16G say.  [default: half of what is free]",
)


def adapted(
    recipe: Recipe,
    rows: tuple[int, int | None] | None = None,
    rotation_axis: float | str | None = None,
) -> Recipe:
    """Return the recipe as other options of a command change it."""
    if rows is not None:
        frames = recipe.dump()["frames"] | {"rows": {"start": rows[0], "stop": rows[1]}}
        recipe = recipe.changed(frames=frames)
    if rotation_axis == "auto":
        recipe = recipe.changed(rotation_axis={"method": "auto"})
    elif rotation_axis is not None:
        recipe = recipe.changed(rotation_axis={"method": "value", "value": rotation_axis})
    return recipe
