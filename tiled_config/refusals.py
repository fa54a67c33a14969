"""How validators refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from fastapi import HTTPException
from pydantic import BaseModel, ValidationError
from tiled.structures.core import Spec, StructureFamily

from tomoservice.catalog.record import first_problem
from tomoservice.errors import RecipeError
from tomoservice.recipe import parse_recipe
from tomoservice.recipe.problems import shown

CONFLICT = 409
UNPROCESSABLE = 422
LEAST, GREATEST = -(2**63), 2**64 - 1
"""Integers that Tiled can store."""

M = TypeVar("M", bound=BaseModel)


def refuse(spec: str, field: str, reason: str, status_code: int = UNPROCESSABLE) -> NoReturn:
    """Refuse a write; the client gets the field and the reason as they are.

    Raises
    ------
    HTTPException
        Always.
    """
    raise HTTPException(status_code, detail=f"{spec}: {field}: {reason}")


def check_content(spec: str, metadata: object) -> None:
    """Refuse metadata that Tiled lets a client ask for and then fails to store.

    Raises
    ------
    HTTPException
        They are no mapping, which a patch can make of them, or hold an integer of more than 64 bits.
    """
    if not isinstance(metadata, Mapping):
        refuse(spec, "metadata", f"are a mapping, got {shown(metadata)}")
    left: list[tuple[str, object]] = list(metadata.items())
    while left:
        field, value = left.pop()
        if isinstance(value, Mapping):
            left.extend((f"{field}.{key}", item) for key, item in value.items())
        elif isinstance(value, list):
            left.extend((f"{field}.{number}", item) for number, item in enumerate(value))
        elif isinstance(value, int) and not LEAST <= value <= GREATEST:
            refuse(spec, field, f"got {shown(value)}, wants an integer of 64 bits at most")


def check_form(spec: Spec, entry: Any, structure_family: StructureFamily | None, version: str) -> None:
    """Refuse another version of a spec than `version`, and what is created and is no container."""
    if spec.version not in (None, version):
        refuse(
            spec.name, "specs", f"version {spec.version!r} of {spec.name} is unknown; known is {version!r}"
        )
    if entry is None and structure_family not in (None, StructureFamily.container):
        refuse(spec.name, "structure_family", f"a {spec.name} is a container, not {structure_family}")


def checked(spec: str, model: type[M], metadata: Mapping[str, Any]) -> M:
    """Return metadata as a model; refuse them with the first field that is wrong."""
    check_content(spec, metadata)
    try:
        return model.model_validate(metadata)
    except ValidationError as error:
        refuse(spec, *first_problem(error))


def checked_recipe_hash(spec: str, metadata: Mapping[str, Any]) -> str:
    """Return the hash of the recipe in some metadata; refuse what is no recipe."""
    try:
        return parse_recipe(metadata["recipe"]).hash
    except RecipeError as error:
        refuse(spec, "recipe", "; ".join(error.problems))
