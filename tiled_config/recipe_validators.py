"""What Tiled checks before it stores a recipe, or that one was accepted for a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiled.structures.core import Spec, StructureFamily

from tiled_config.refusals import CONFLICT, check_form, checked, checked_recipe_hash, refuse
from tiled_config.stored import stored_metadata
from tomoservice.catalog import names
from tomoservice.catalog.recipe_records import AcceptanceMetadata, RecipeMetadata
from tomoservice.recipe import shipped_recipes

VERSION = "1"
REVISED_BY = ("recipe", "note")
"""What makes a new revision when it changes."""


async def validate_recipe(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any]:
    """Check a TomoRecipe when it is created or its metadata changes, and number its revision.

    Parameters
    ----------
    spec : Spec
        The spec as the client declared it.
    metadata : dict
        All metadata that the node is going to have; hash and revision are added.
    entry : CatalogNodeAdapter or None
        The node as it is; None while it is being created.
    structure_family : StructureFamily or None
        What is being created.
    structure : object
        Not used; a container has none.

    Returns
    -------
    dict
        `metadata`.
    """
    del structure
    check_form(spec, entry, structure_family, VERSION)
    content = checked(names.RECIPE_SPEC, RecipeMetadata, metadata)
    metadata["recipe_hash"] = checked_recipe_hash(names.RECIPE_SPEC, metadata)
    metadata["tags"] = list(content.tags)
    if entry is None:
        if content.name in shipped_recipes():
            reason = f"{content.name!r} comes with the package; choose another name"
            refuse(names.RECIPE_SPEC, "name", reason)
        metadata["revision"] = 1
        return metadata
    before = await stored_metadata(entry)
    if content.name != entry.node.key:
        refuse(names.RECIPE_SPEC, "name", "cannot be changed; save it under the other name", CONFLICT)
    revised = any(metadata.get(key) != before.get(key) for key in REVISED_BY)
    metadata["revision"] = _number(before) + (1 if revised else 0)
    return metadata


async def validate_acceptance(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any]:
    """Check a TomoAcceptance when it is created or its metadata changes; see `validate_recipe`."""
    del structure
    check_form(spec, entry, structure_family, VERSION)
    checked(names.ACCEPTANCE_SPEC, AcceptanceMetadata, metadata)
    metadata["recipe_hash"] = checked_recipe_hash(names.ACCEPTANCE_SPEC, metadata)
    return metadata


def _number(metadata: Mapping[str, Any]) -> int:
    """Return the revision that is stored; 1 of what was written before it had its spec."""
    revision = metadata.get("revision")
    return revision if isinstance(revision, int) else 1
