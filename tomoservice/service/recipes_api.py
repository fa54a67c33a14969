"""HTTP routes about recipes: what one may say, the saved ones, and which to begin with."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, model_validator

from tomoservice.catalog import names
from tomoservice.catalog.likeness import ScanConditions
from tomoservice.catalog.proposals import FALLBACK
from tomoservice.catalog.recipe_records import Acceptance, SavedRecipe, Tags
from tomoservice.catalog.recipes import (
    RecipeSearch,
    accept_recipe,
    delete_recipe,
    load_saved,
    propose_recipe,
    recipe_called,
    revisions_of,
    save_recipe,
    search_saved,
)
from tomoservice.catalog.scan_conditions import conditions_of
from tomoservice.catalog.transport import NotFoundError
from tomoservice.errors import RecipeError
from tomoservice.recipe import (
    Recipe,
    parse_recipe,
    parse_text,
    recipe_schema,
    shipped_recipe,
    shipped_recipes,
)
from tomoservice.service.answers import REFUSALS, TAG, Problem, problems_of
from tomoservice.service.callers import CREATE, DELETE, LOOK, READ, TheCaller, TheRun, needs
from tomoservice.service.models import EXAMPLE_RUN, Answer, Asked
from tomoservice.service.office import TheOffice

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

NO_CONTENT = 204


class RecipeToCheck(Asked):
    """A recipe, as a mapping or as text."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"recipe": {"reconstruction": {"filter_cutoff": 0.8}}}},
    )

    recipe: dict[str, Any] | None = None
    """The recipe; what it leaves out is default."""
    text: str | None = Field(None, max_length=100000)
    """The same as YAML or JSON."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.recipe is None) == (self.text is None):
            raise ValueError("either recipe or text")
        return self


class CheckedRecipe(Answer):
    """Whether a recipe is right in itself, and what it says with every default written out."""

    valid: bool
    """Whether it is."""
    problems: list[Problem] = Field(default_factory=list)
    """What is wrong with it, field by field."""
    recipe: dict[str, Any] | None = None
    """The recipe in full; null if it is not valid."""
    yaml: str | None = None
    """The same as a file would hold it."""
    hash: str | None = None
    """SHA-256 of everything in it that determines the result."""


class RecipeAnswer(Answer):
    """A recipe with a name."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "bone",
                "revision": 2,
                "recipe": {"stripes": {"method": "sorting"}},
                "tags": ["bone", "pink beam"],
                "note": "rings gone",
                "saved_by": "alice",
                "saved_at": 1796000000.0,
                "shipped": False,
            }
        }
    )

    name: str
    """What it is called."""
    revision: int | None = None
    """Number of the revision, from 1; null of a shipped one."""
    recipe: dict[str, Any]
    """The recipe, every default written out."""
    tags: list[str] = Field(default_factory=list)
    """Words to find it by."""
    note: str = ""
    """What it is for, or what is new in this revision."""
    saved_by: str = ""
    """Who saved this revision."""
    saved_at: float | None = None
    """When, in seconds since 1970."""
    shipped: bool = False
    """Whether it comes with the package, and cannot be changed."""

    @classmethod
    def saved(cls, saved: SavedRecipe) -> Self:
        """Return a saved recipe."""
        return cls(
            name=saved.name,
            revision=saved.revision,
            recipe=saved.recipe.dump(),
            tags=list(saved.tags),
            note=saved.note,
            saved_by=saved.saved_by,
            saved_at=saved.saved_at,
        )

    @classmethod
    def of_package(cls, name: str) -> Self:
        """Return a recipe that comes with the package."""
        recipe = shipped_recipe(name)
        return cls(name=name, recipe=recipe.dump(), note=recipe.description or "", shipped=True)


class RecipeList(Answer):
    """Recipes, by name."""

    recipes: list[RecipeAnswer]
    """The saved ones, then those of the package."""


class RecipeToSave(Asked):
    """What to save under a name."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"recipe": {"stripes": {"method": "sorting"}}, "tags": ["bone"], "note": "rings gone"}
        },
    )

    recipe: dict[str, Any]
    """The recipe; what it leaves out is default."""
    tags: Tags | None = None
    """Words to find it by, in place of those it has; null: as they are."""
    note: str | None = Field(None, max_length=5000, pattern=names.TEXT_PATTERN)
    """What it is for, or what is new; null: as it is."""


class RunToAccept(Asked):
    """A run for which a recipe is good."""

    model_config = ConfigDict(json_schema_extra={"example": {"run_uid": EXAMPLE_RUN}})

    run_uid: str
    """Uid of the run."""
    revision: int | None = Field(None, ge=1)
    """Which revision of the recipe; null: the latest."""


class AcceptanceAnswer(Answer):
    """That a recipe was accepted for a run."""

    name: str
    """The recipe."""
    revision: int
    """Which of its revisions."""
    run_uid: str
    """The run."""
    accepted_by: str
    """Who accepted it."""
    accepted_at: float
    """When, in seconds since 1970."""
    scan: ScanConditions
    """What the scan was like: it is proposed for scans like that."""

    @classmethod
    def of(cls, acceptance: Acceptance) -> Self:
        """Return what is said of an acceptance."""
        return cls(
            name=acceptance.name,
            revision=acceptance.revision,
            run_uid=acceptance.run_uid,
            accepted_by=acceptance.accepted_by,
            accepted_at=acceptance.accepted_at,
            scan=acceptance.conditions,
        )


class ProposalAnswer(Answer):
    """A recipe to begin with on a scan."""

    recipe: dict[str, Any]
    """The recipe, every default written out."""
    recipe_name: str | None
    """What it is called."""
    reason: str
    """Why this one, in a sentence."""
    cautions: list[str] = Field(default_factory=list)
    """What to look at before using it."""
    accepted: AcceptanceAnswer | None = None
    """Who accepted it for which scan; null for the one of the package."""


@router.get("/recipe/schema", dependencies=[needs(LOOK)])
async def schema_of_recipes() -> dict[str, Any]:
    """Return the JSON schema of a recipe: its stages, their methods and fields with defaults and units."""
    return recipe_schema()


@router.post("/recipe/check", dependencies=[needs(LOOK)])
async def check_recipe(wanted: RecipeToCheck) -> CheckedRecipe:
    """Say what is wrong with a recipe, field by field, or return it with every default written out."""
    # A long text takes PyYAML seconds.
    return await asyncio.to_thread(_checked, wanted)


def _checked(wanted: RecipeToCheck) -> CheckedRecipe:
    try:
        recipe = parse_recipe(wanted.recipe) if wanted.text is None else parse_text(wanted.text)
    except RecipeError as error:
        return CheckedRecipe(valid=False, problems=problems_of(error))
    return CheckedRecipe(valid=True, recipe=recipe.dump(), yaml=recipe.to_yaml(), hash=recipe.hash)


@router.get("/scans/{run_uid}/proposal", dependencies=[needs(READ)])
async def propose(run: TheRun, caller: TheCaller, office: TheOffice) -> ProposalAnswer:
    """Return the recipe that was accepted last for a scan like this one, else the default; says why."""

    def look(root: Any) -> ProposalAnswer:
        proposal = propose_recipe(root, conditions_of(root, run.run_uid, direct=False))
        acceptance = proposal.acceptance
        return ProposalAnswer(
            recipe=proposal.recipe.dump(),
            recipe_name=proposal.recipe.name,
            reason=proposal.reason,
            cautions=list(proposal.cautions),
            accepted=None if acceptance is None else AcceptanceAnswer.of(acceptance),
        )

    return await office.clerk.act(caller.authorization, look)


Bound = Annotated[float | None, Query(gt=0, description="Limit, included.")]


@router.get("/recipes", dependencies=[needs(LOOK)])
async def list_recipes(  # noqa: PLR0913, PLR0917 - one argument for each parameter of the query
    caller: TheCaller,
    office: TheOffice,
    q: Annotated[
        str,
        Query(
            max_length=200,
            pattern=names.TEXT_PATTERN,
            description="Words that stand in its name, tags, note, description or methods.",
        ),
    ] = "",
    tag: Annotated[list[str] | None, Query(description="Tags that it has, all of them.")] = None,
    sample: Annotated[
        str | None,
        Query(
            max_length=200,
            pattern=names.TEXT_PATTERN,
            description="Part of the name of a sample it was accepted for.",
        ),
    ] = None,
    energy_kev_min: Bound = None,
    energy_kev_max: Bound = None,
    pixel_size_um_min: Bound = None,
    pixel_size_um_max: Bound = None,
) -> RecipeList:
    """Return saved recipes by name, and those that come with the package unless something else is asked for.

    Energy, pixel size and sample are those of scans that a recipe was accepted for.
    """
    energy, pixel = (energy_kev_min, energy_kev_max), (pixel_size_um_min, pixel_size_um_max)
    search = RecipeSearch(
        None if energy == (None, None) else energy,
        None if pixel == (None, None) else pixel,
        sample,
        tuple(tag or ()),
        q,
    )
    found = await office.clerk.act(caller.authorization, partial(search_saved, search=search))
    shipped = shipped_recipes() if search == RecipeSearch() else []
    return RecipeList(
        recipes=[*map(RecipeAnswer.saved, found), *map(RecipeAnswer.of_package, shipped)],
    )


@router.get("/recipes/{name}", dependencies=[needs(LOOK)])
async def read_recipe(
    name: str,
    caller: TheCaller,
    office: TheOffice,
    revision: Annotated[
        int | None, Query(ge=1, description="An old revision; by default the latest.")
    ] = None,
) -> RecipeAnswer:
    """Return a saved recipe, or one that comes with the package."""

    def look(root: Any) -> RecipeAnswer:
        try:
            return RecipeAnswer.saved(load_saved(root, name, revision))
        except NotFoundError:
            if revision is not None or name not in shipped_recipes():
                raise
            return RecipeAnswer.of_package(name)

    return await office.clerk.act(caller.authorization, look)


@router.get("/recipes/{name}/revisions", dependencies=[needs(LOOK)])
async def list_revisions(name: str, caller: TheCaller, office: TheOffice) -> RecipeList:
    """Return all revisions of a saved recipe, the first one first."""
    found = await office.clerk.act(caller.authorization, partial(revisions_of, name=name))
    return RecipeList(recipes=[RecipeAnswer.saved(saved) for saved in found])


@router.put("/recipes/{name}", dependencies=[needs(CREATE)])
async def save(name: str, wanted: RecipeToSave, caller: TheCaller, office: TheOffice) -> RecipeAnswer:
    """Save a recipe under a name; what has this name already becomes an old revision of it."""
    recipe = parse_recipe(wanted.recipe)

    def write(root: Any) -> SavedRecipe:
        return save_recipe(root, name, recipe, tags=wanted.tags, note=wanted.note, saved_by=caller.name)

    return RecipeAnswer.saved(await office.clerk.act(caller.authorization, write))


@router.delete("/recipes/{name}", dependencies=[needs(DELETE)], status_code=NO_CONTENT)
async def delete(name: str, caller: TheCaller, office: TheOffice) -> Response:
    """Delete a saved recipe with its revisions; reconstructions that used it keep theirs."""
    await office.clerk.act(caller.authorization, partial(delete_recipe, name=name))
    return Response(status_code=NO_CONTENT)


@router.post("/recipes/{name}/accept", dependencies=[needs(CREATE)])
async def accept(name: str, wanted: RunToAccept, caller: TheCaller, office: TheOffice) -> AcceptanceAnswer:
    """Say that a saved recipe is good for a run: from now on it is proposed for scans like that one."""

    def write(root: Any) -> AcceptanceAnswer:
        saved = load_saved(root, name, wanted.revision)
        conditions = conditions_of(root, wanted.run_uid, direct=False)
        return AcceptanceAnswer.of(accept_recipe(root, saved, wanted.run_uid, conditions, caller.name))

    return await office.clerk.act(caller.authorization, write)


def asked_recipe(root: Any, recipe: dict[str, Any] | None, name: str | None) -> Recipe:
    """Return the recipe that somebody gives, or that has the name they give.

    Raises
    ------
    RecipeError
        It is none.
    NotFoundError
        There is none of that name.
    """
    if recipe is None:
        return recipe_called(root, name or FALLBACK)
    return parse_recipe(recipe, name=name or "recipe")
