"""How a recipe written by an older version becomes one of the present schema version.

A change of the schema that old recipes do not survive raises `SCHEMA_VERSION` by one and adds the step
from the version before to `MIGRATIONS`; steps are never changed or removed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tomoservice.errors import RecipeError, RecipeVersionError
from tomoservice.recipe.problems import shown

SCHEMA_VERSION = 1
"""Version of the recipe's form that this package writes."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = MappingProxyType({})
"""Step from each older version to the one after it; a step may change the mapping it is given."""


def migrate(
    content: Mapping[str, Any],
    *,
    name: str = "recipe",
    target: int = SCHEMA_VERSION,
    steps: Mapping[int, Migration] = MIGRATIONS,
) -> dict[str, Any]:
    """Return `content` in the form of version `target`.

    Raises
    ------
    RecipeVersionError
        If the recipe is newer than `target`.
    RecipeError
        If the version is not a number, or no step leads on from it.
    """
    version = content.get("schema_version", target)
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise RecipeError(
            f"schema_version: got {shown(version)}, wants a whole number up to {target}", name=name
        )
    if version > target:
        raise RecipeVersionError(
            f"schema_version: got {version}, this version of tomoservice reads up to {target}; "
            "update tomoservice",
            name=name,
        )
    migrated = dict(content)
    while version < target:
        if version not in steps:
            raise RecipeError(f"schema_version: no way leads from {version} to {target}", name=name)
        migrated = steps[version](migrated)
        version += 1
        migrated["schema_version"] = version
    return migrated
