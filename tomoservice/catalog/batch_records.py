"""Batches as typed records: many runs by one recipe or several, and what was added to them later.

A batch says which reconstructions belong to it and nothing about them: each is a reconstruction like any
other, and only its own node says how it fares.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tomoservice.catalog import names
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.catalog.record import first_problem, plain
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.recipe import Recipe, parse_recipe

MOST_ITEMS = 10_000
"""Reconstructions of a batch, at most, with all that is added to it."""
MOST_RECIPES = 100
"""Recipes that are asked for at once, at most: each is checked whenever the batch is read."""
LONGEST_KEY = 100
"""Characters of a batch's key, at most: keys of its items are longer."""
FIRST_PART = 0
"""Number of the part that a batch begins with; additions are numbered from 1."""


class BatchPart(BaseModel):
    """What is asked for at once: runs, each by every one of some recipes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    runs: tuple[str, ...] = Field(min_length=1, max_length=MOST_ITEMS)
    """Uids of the runs."""
    recipes: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=MOST_RECIPES)
    """Recipes, by each of which every run is reconstructed."""
    requested_by: str = ""
    """Who asked for it."""
    requested_at: float = 0.0
    """When, in seconds since 1970."""
    submitted: bool = False
    """Whether the service is done with making the items, or with refusing to."""
    message: str = ""
    """Why it refused."""

    @property
    def size(self) -> int:
        """How many reconstructions these are."""
        return len(self.runs) * len(self.recipes)

    @field_validator("recipes")
    @classmethod
    def _are_sound(cls, recipes: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        hashes = []
        for number, recipe in enumerate(recipes):
            try:
                hashes.append(parse_recipe(recipe).hash)
            except RecipeError as error:
                raise ValueError(f"{number}: {'; '.join(error.problems)}") from error
        if len(set(hashes)) < len(hashes):
            raise ValueError("two of them are the same")
        return recipes

    @field_validator("runs")
    @classmethod
    def _are_different(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        for run in runs:
            if not names.is_key(run):
                raise ValueError(f"{run!r} is no uid of a run")
        twice = [run for run, count in Counter(runs).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands there twice")
        return runs


class BatchMetadata(BatchPart):
    """Metadata of a batch's node, which are the part that it begins with; more may stand beside it."""

    name: str = Field(default="", max_length=200, pattern=names.TEXT_PATTERN)
    """What people call it."""
    priority: JobPriority = JobPriority.BACKGROUND
    """How urgent its items are."""

    @model_validator(mode="after")
    def _is_not_too_large(self) -> Self:
        if self.size > MOST_ITEMS:
            raise ValueError(
                f"{self.size} reconstructions are more than {MOST_ITEMS}; ask for several batches"
            )
        return self

    @field_validator("priority")
    @classmethod
    def _can_be_asked_for(cls, priority: JobPriority) -> JobPriority:
        if priority not in ASKED_FOR:
            raise ValueError(f"{priority.value!r} cannot be asked for")
        return priority


class AdditionMetadata(BatchPart):
    """Metadata of a child that adds to a batch; more may stand beside it."""

    first: int = Field(ge=2, le=MOST_ITEMS)
    """Number of its first item: the one after the last that the batch had."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        items = self.first - 1 + self.size
        if items > MOST_ITEMS:
            raise ValueError(
                f"the batch would have {items} reconstructions, more than {MOST_ITEMS}; ask for another batch"
            )
        return self


@dataclass(frozen=True, slots=True)
class BatchAddition:
    """What was added to a batch at once."""

    number: int
    """Which addition it is, from 1."""
    metadata: AdditionMetadata
    """What it says."""

    @property
    def key(self) -> str:
        """Key of the child that says it."""
        return names.addition_key(self.number)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Which run by which recipe, and where that is."""

    batch_id: str
    number: int
    """From 1; runs first, then recipes: with two recipes, 1 and 2 are the first run."""
    run_uid: str
    recipe: int
    """Which of the record's recipes, from 0."""
    part: int = FIRST_PART
    """What it was asked for with: `FIRST_PART`, or the number of the addition."""

    @property
    def key(self) -> str:
        """Key of the reconstruction below the run."""
        return f"{self.batch_id}-{self.number}"

    @property
    def path(self) -> str:
        """Path of the reconstruction in Tiled."""
        return f"{names.PROCESSED}/{self.run_uid}/{self.key}"


@dataclass(frozen=True)
class BatchRecord:
    """A batch: the key of its node, its metadata, and what was added to it."""

    batch_id: str
    """Key of the node."""
    metadata: BatchMetadata
    """What it says of itself."""
    additions: tuple[BatchAddition, ...] = ()
    """What was added, the first addition first."""

    @property
    def path(self) -> str:
        """Path of the node in Tiled."""
        return f"{names.BATCHES}/{self.batch_id}"

    @property
    def parts(self) -> dict[int, BatchPart]:
        """What was asked for at once, each by its number."""
        return {FIRST_PART: self.metadata, **{each.number: each.metadata for each in self.additions}}

    @property
    def size(self) -> int:
        """How many items it has."""
        return sum(part.size for part in self.parts.values())

    @property
    def last(self) -> int:
        """Number of its last item."""
        if not self.additions:
            return self.metadata.size
        latest = self.additions[-1].metadata
        return latest.first - 1 + latest.size

    @property
    def submitted(self) -> bool:
        """Whether the service is done with making all its items."""
        return all(part.submitted for part in self.parts.values())

    @cached_property
    def items(self) -> tuple[BatchItem, ...]:
        """Its items by number."""
        places = self._recipes.places
        found = []
        for number, part in self.parts.items():
            first = part.first if isinstance(part, AdditionMetadata) else 1
            chosen = [places[_text(recipe)] for recipe in part.recipes]
            for index, (run, recipe) in enumerate((run, one) for run in part.runs for one in chosen):
                found.append(BatchItem(self.batch_id, first + index, run, recipe, number))
        return tuple(found)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes of its items, each once."""
        return self._recipes.distinct

    @property
    def recipe_names(self) -> list[str]:
        """What the recipes are called: by name, else by the beginning of their hash; each different."""
        called = [recipe.name or recipe.hash[:8] for recipe in self.recipes]
        counts = Counter(called)
        return [
            name if counts[name] == 1 else f"{name}-{recipe.hash[:8]}"
            for name, recipe in zip(called, self.recipes, strict=True)
        ]

    @cached_property
    def _recipes(self) -> _Recipes:
        return _Recipes.of(recipe for part in self.parts.values() for recipe in part.recipes)

    @classmethod
    def from_node(cls, node: Any, additions: Mapping[str, Any] | None = None) -> BatchRecord:
        """Read the record of a Tiled client node, without asking the server again.

        Parameters
        ----------
        node : tiled Container
            The batch.
        additions : mapping, optional
            Metadata of the children that add to it, by key.

        Raises
        ------
        CatalogError
            The node is no batch.
        """
        key = str(node.path_parts[-1])
        return cls.of(key, plain(node.metadata), additions or {})

    @classmethod
    def of(cls, batch_id: str, content: Mapping[str, Any], additions: Mapping[str, Any]) -> BatchRecord:
        """Return the record of a batch, by what its node and the children that add to it say.

        Raises
        ------
        CatalogError
            The node is no batch.
        """
        said = checked_batch(content, f"{names.BATCHES}/{batch_id}")
        return cls(batch_id, said, _counted(additions, said.size))


@dataclass(frozen=True, slots=True)
class _Recipes:
    """Recipes, of which several may be the same."""

    distinct: tuple[Recipe, ...]
    """Each once."""
    places: Mapping[str, int]
    """Which of these it is, by the text of each that there is."""

    @classmethod
    def of(cls, recipes: Iterable[Mapping[str, Any]]) -> _Recipes:
        known: dict[tuple[str, str | None], int] = {}
        distinct: list[Recipe] = []
        places: dict[str, int] = {}
        for content in recipes:
            text = _text(content)
            if text in places:
                continue
            recipe = parse_recipe(content)
            places[text] = known.setdefault((recipe.hash, recipe.name), len(distinct))
            if places[text] == len(distinct):
                distinct.append(recipe)
        return cls(tuple(distinct), places)


def _text(recipe: Mapping[str, Any]) -> str:
    return json.dumps(recipe, sort_keys=True)


def _counted(found: Mapping[str, Any], size: int) -> tuple[BatchAddition, ...]:
    """Return those children of a batch that add to it.

    What is not sound, or says to have numbers that other items have, came by a way that nothing checks. It
    counts as nothing.
    """
    numbered = sorted((number, key) for key in found if (number := names.addition_of(key)) is not None)
    last, counted = size, []
    for number, key in numbered:
        try:
            said = checked_addition(plain(found[key]), key)
        except CatalogError:
            continue
        if said.first > last:
            counted.append(BatchAddition(number, said))
            last = said.first - 1 + said.size
    return tuple(counted)


M = TypeVar("M", bound=BatchPart)


def checked_batch(content: Mapping[str, Any], where: str = "the batch") -> BatchMetadata:
    """Return what metadata say of a batch.

    Raises
    ------
    CatalogError
        They say something else; names the first field that is wrong, and why.
    """
    return _checked(BatchMetadata, content, where)


def checked_addition(content: Mapping[str, Any], where: str = "what is to be added") -> AdditionMetadata:
    """Return what metadata say is added to a batch.

    Raises
    ------
    CatalogError
        They say something else; names the first field that is wrong, and why.
    """
    return _checked(AdditionMetadata, content, where)


def _checked(model: type[M], content: Mapping[str, Any], where: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise CatalogError(f"{where}: {field}: {reason}" if field else f"{where}: {reason}") from error
