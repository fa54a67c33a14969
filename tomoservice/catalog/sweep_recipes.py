"""From a picture of a sweep to a saved recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tomoservice.catalog.nodes import is_sweep
from tomoservice.catalog.recipe_records import SavedRecipe
from tomoservice.catalog.recipes import accept_recipe, save_recipe
from tomoservice.catalog.record import plain
from tomoservice.catalog.scan_conditions import conditions_of
from tomoservice.catalog.transport import root_of
from tomoservice.errors import CatalogError
from tomoservice.recipe import Sweep, parse_sweep

LONGEST_NAME = 128


def sweep_of(node: Any) -> Sweep:
    """Return what a sweep's node asks for.

    Raises
    ------
    CatalogError
        The node is no sweep.
    RecipeError
        It holds one of a newer version of the package.
    """
    if not is_sweep(node):
        raise CatalogError(f"{'/'.join(node.path_parts)} is no sweep")
    return parse_sweep(plain(node.metadata.get("sweep")))


@dataclass(frozen=True, slots=True)
class Label:
    """What the recipe of a picture is to be known by."""

    name: str | None = None
    """Name to save it under; by default it is made of the sweep's recipe, parameter and value."""
    tags: Sequence[str] | None = None
    """Words to find it by."""
    note: str | None = None
    """What it is for; by default, which picture of which sweep it comes from."""


def accept_picture(
    node: Any, index: int, label: Label, *, accepted_by: str = "", direct: bool = True
) -> SavedRecipe:
    """Save the recipe of a sweep's picture, and record that it is good for the sweep's run.

    Parameters
    ----------
    node : tiled Container
        The sweep.
    index : int
        Number of the picture, from 0; negative ones count from the end.
    label : Label
        What it is to be known by.
    accepted_by : str
        Who says so.
    direct : bool
        Whether raw files may be opened where they are visible; see `conditions_of`.

    Raises
    ------
    RecipeError
        There is no such picture.
    InputError
        The run cannot be read as a scan.
    CatalogError
        The service refuses the name, a tag or the note; says why.
    """
    sweep = sweep_of(node)
    recipe = sweep.recipe_of(index)
    root = root_of(node)
    run_uid, key = node.path_parts[-2:]
    # First, because it may fail: a recipe that is saved and not accepted is half of what was asked for.
    conditions = conditions_of(root, run_uid, direct=direct)
    place = index % len(sweep.values)
    said = f"picture {place} of sweep {run_uid[:8]}/{key}: {sweep.parameter} {sweep.labels[place]}"
    saved = save_recipe(
        root,
        picture_name(sweep, place) if label.name is None else label.name,
        recipe,
        tags=label.tags,
        note=said if label.note is None else label.note,
        saved_by=accepted_by,
    )
    accept_recipe(root, saved, run_uid, conditions, accepted_by)
    return saved


def picture_name(sweep: Sweep, index: int) -> str:
    """Return what the recipe of a picture is called if nobody says it: ``default-rotation_axis-295.5``."""
    label = sweep.labels[index]
    value = f"{label:g}" if isinstance(label, float) else label
    words = (str(sweep.recipe.get("name") or "recipe"), sweep.parameter.rpartition(".")[2], value)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-._")
    return name[:LONGEST_NAME]
