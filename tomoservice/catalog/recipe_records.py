"""Saved recipes, and the scans for which they were accepted, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog.likeness import ScanConditions
from tomoservice.catalog.names import is_key
from tomoservice.catalog.record import first_problem, plain
from tomoservice.errors import CatalogError
from tomoservice.recipe import Recipe, parse_recipe

M = TypeVar("M", bound=BaseModel)

LONGEST_TAG = 60
MOST_TAGS = 50
LONGEST_NOTE = 5000


def _key(text: str) -> str:
    if not is_key(text):
        raise ValueError(
            "begins with a letter or a digit; after that come letters, digits, '.', '_' and '-', "
            "128 characters at most"
        )
    return text


def _tag(text: str) -> str:
    tag = text.strip()
    if not tag or "," in tag:
        raise ValueError("a tag is a word or a few, without commas")
    return tag


def _once(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


Key = Annotated[str, AfterValidator(_key)]
Tag = Annotated[str, Field(max_length=LONGEST_TAG), AfterValidator(_tag)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=MOST_TAGS), AfterValidator(_once)]


class RecipeMetadata(BaseModel):
    """Metadata of a saved recipe; more may stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Key
    """What it is called: the key of its node."""
    recipe: dict[str, Any]
    """The recipe."""
    recipe_hash: str | None = None
    """Hash of everything in it that determines the result."""
    revision: int = Field(default=1, ge=1)
    """Number of the revision, from 1; a new recipe or note makes a new one."""
    tags: Tags = ()
    """Words to find it by."""
    note: str = Field(default="", max_length=LONGEST_NOTE)
    """What it is for, or what is new in this revision."""
    saved_by: str = ""
    """Who saved this revision."""
    saved_at: float | None = Field(default=None, allow_inf_nan=False)
    """When, in seconds since 1970."""


class AcceptanceMetadata(BaseModel):
    """Metadata of the node that says that a recipe was accepted for a run."""

    model_config = ConfigDict(extra="allow", frozen=True)

    run_uid: Key
    """The run."""
    recipe: dict[str, Any]
    """The recipe as it was accepted, whatever becomes of it later."""
    recipe_hash: str | None = None
    """Hash of everything in it that determines the result."""
    revision: int = Field(ge=1)
    """Revision of the recipe that was accepted."""
    accepted_by: str = ""
    """Who accepted it."""
    accepted_at: float = Field(allow_inf_nan=False)
    """When, in seconds since 1970."""
    scan: ScanConditions
    """What the scan was like."""


@dataclass(frozen=True, slots=True)
class SavedRecipe:
    """One revision of a saved recipe."""

    name: str
    """What it is called."""
    revision: int
    """Number of the revision, from 1."""
    recipe: Recipe
    """The recipe."""
    tags: tuple[str, ...]
    """Words to find it by."""
    note: str
    """What it is for, or what is new in this revision."""
    saved_by: str
    """Who saved this revision."""
    saved_at: float | None
    """When, in seconds since 1970."""

    def __repr__(self) -> str:
        tags = f", tags {', '.join(self.tags)}" if self.tags else ""
        return f"<SavedRecipe {self.name}, revision {self.revision} of {self.saved_on}{tags}>"

    @property
    def saved_on(self) -> str:
        """The day it was saved, local time."""
        return day(self.saved_at)

    @classmethod
    def from_metadata(cls, name: str, metadata: Mapping[str, Any]) -> Self:
        """Read a revision from its metadata; the node's key is the name, whatever the metadata say.

        Raises
        ------
        CatalogError
            The node is no saved recipe.
        RecipeError
            It holds a recipe that is none, or one of a newer version of the package.
        """
        content = _validated(RecipeMetadata, f"recipes/{name}", metadata)
        recipe = parse_recipe(content.recipe, name=name)
        return cls(
            name=name,
            revision=content.revision,
            recipe=recipe.model_copy(update={"name": name}),
            tags=content.tags,
            note=content.note,
            saved_by=content.saved_by,
            saved_at=content.saved_at,
        )


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A recipe that somebody accepted for a run."""

    name: str
    """The saved recipe."""
    revision: int
    """Which of its revisions was accepted."""
    recipe: Recipe
    """The recipe as it was accepted."""
    run_uid: str
    """The run."""
    accepted_by: str
    """Who accepted it."""
    accepted_at: float
    """When, in seconds since 1970."""
    conditions: ScanConditions
    """What the scan was like."""

    def __repr__(self) -> str:
        return f"<Acceptance of {self.name}: {self.describe()}>"

    def describe(self) -> str:
        """Return who accepted it, when and for which run, in words."""
        by = f" by {self.accepted_by}" if self.accepted_by else ""
        sample = f" (sample {self.conditions.sample_name})" if self.conditions.sample_name else ""
        return f"accepted{by} on {day(self.accepted_at)} for run {self.run_uid[:8]}{sample}"

    @classmethod
    def from_metadata(cls, name: str, metadata: Mapping[str, Any]) -> Self:
        """Read an acceptance from the metadata of its node below the recipe `name`.

        Raises
        ------
        CatalogError
            The node is no acceptance.
        RecipeError
            It holds a recipe that is none, or one of a newer version of the package.
        """
        content = _validated(AcceptanceMetadata, f"an acceptance of recipes/{name}", metadata)
        recipe = parse_recipe(content.recipe, name=name)
        return cls(
            name=name,
            revision=content.revision,
            recipe=recipe.model_copy(update={"name": name}),
            run_uid=content.run_uid,
            accepted_by=content.accepted_by,
            accepted_at=content.accepted_at,
            conditions=content.scan,
        )


def day(seconds: float | None) -> str:
    """Return the day of a time in seconds since 1970, local time: ``2026-11-29``."""
    return "an unknown day" if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d}"


def _validated(model: type[M], where: str, metadata: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(plain(metadata))
    except ValidationError as error:
        field, reason = first_problem(error)
        raise CatalogError(f"{where}: metadata {field!r}: {reason}") from error
