"""HTTP routes about sweeps: one slice by several recipes that differ in one thing."""

from __future__ import annotations

from typing import Any, Self

from fastapi import APIRouter, HTTPException
from pydantic import ConfigDict, Field

from tomoservice.catalog import names
from tomoservice.catalog.nodes import request_sweep
from tomoservice.catalog.recipe_records import Tags
from tomoservice.catalog.record import plain
from tomoservice.catalog.states import State
from tomoservice.catalog.sweep_recipes import LONGEST_NAME, Label, accept_picture
from tomoservice.catalog.transport import child
from tomoservice.recipe import parse_sweep
from tomoservice.recipe.sweep import MOST_VALUES
from tomoservice.service.answers import NOT_FOUND, REFUSALS, TAG
from tomoservice.service.callers import CREATE, READ, TheCaller, TheRun, needs
from tomoservice.service.models import EXAMPLE_RUN, Answer, Asked, VolumeAnswer
from tomoservice.service.office import TheOffice
from tomoservice.service.recipes_api import RecipeAnswer, asked_recipe
from tomoservice.service.reconstructions_api import CREATED, volume_of

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)


class SweepRequest(Asked):
    """A sweep to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "parameter": "rotation_axis",
                "values": [294.5, 295.0, 295.5, 296.0],
                "z": 1,
            }
        }
    )

    recipe: dict[str, Any] | None = None
    """What all pictures share; what it leaves out is default."""
    recipe_name: str | None = Field(None, max_length=200)
    """Name of a saved recipe, `name` or `name@2`, or of one that comes with the package, in its place."""
    parameter: str = Field(min_length=1, max_length=200)
    """What differs: a field of the recipe with its stage (`reconstruction.filter_cutoff`), or a stage, whose
    values are then whole stages. Numbers for `rotation_axis` are its columns."""
    values: list[Any] = Field(min_length=1, max_length=MOST_VALUES)
    """The values, in the order in which they are shown."""
    z: int = Field(0, ge=0)
    """Slice of the volume."""
    rows: dict[str, Any] | None = None
    """Rows of the slice that are shown: `start` and `stop`, pixels; all by default."""
    columns: dict[str, Any] | None = None
    """Columns of the slice that are shown, likewise."""


class PictureToAccept(Asked):
    """The picture of a sweep that is best."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"index": 2, "name": "tooth", "tags": ["enamel"]}}
    )

    index: int = Field(ge=0)
    """Number of the picture, from 0."""
    name: str | None = Field(None, max_length=LONGEST_NAME)
    """What to call the recipe; by default it is made of the sweep's recipe, parameter and value."""
    tags: Tags | None = None
    """Words to find it by."""
    note: str | None = Field(None, max_length=5000)
    """What it is for; by default, which picture of which sweep it comes from."""


class SweepAnswer(Answer):
    """A sweep. Its pictures are made when somebody reads them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "run_uid": EXAMPLE_RUN,
                "id": "sweep-3f9c2b7a1d04",
                "path": f"processed/{EXAMPLE_RUN}/sweep-3f9c2b7a1d04",
                "state": "virtual",
                "message": "",
                "parameter": "rotation_axis",
                "labels": [294.5, 295.0],
                "z": 1,
                "sweep": {"parameter": "rotation_axis", "values": [294.5, 295.0], "z": 1},
                "requested_by": "alice",
                "requested_at": 1796000000.0,
                "images": None,
            }
        }
    )

    run_uid: str
    """Run whose slice it shows."""
    id: str
    """Key of the sweep."""
    path: str
    """Path of its node in Tiled; its pictures are at `{path}/images`."""
    state: State
    """`virtual`, or `failed` if it does not fit the scan."""
    message: str = ""
    """Why it failed."""
    parameter: str
    """What differs."""
    labels: list[float] | list[str]
    """What stands beside the pictures: the numbers, or what the alternatives are called."""
    z: int
    """Slice of the volume."""
    sweep: dict[str, Any]
    """All that was asked for, every default written out."""
    requested_by: str | None = None
    """Who asked for it."""
    requested_at: float | None = None
    """When, in seconds since 1970."""
    images: VolumeAnswer | None = None
    """The pictures (value, y, x); null until they have been described, within a second or so."""

    @classmethod
    def of(cls, path: tuple[str, ...], metadata: Any, images: VolumeAnswer | None = None) -> Self:
        """Read it from the metadata of its node.

        Raises
        ------
        RecipeError
            It holds a sweep that is none, or one of a newer version of the package.
        """
        said = plain(metadata)
        sweep = parse_sweep(said.get("sweep"))
        status = said.get("status") or {}
        return cls(
            run_uid=path[-2],
            id=path[-1],
            path="/".join(path),
            state=status.get("state", State.VIRTUAL),
            message=str(status.get("message") or ""),
            parameter=sweep.parameter,
            labels=sweep.labels,
            z=sweep.z,
            sweep=sweep.model_dump(mode="json"),
            requested_by=said.get("requested_by"),
            requested_at=said.get("requested_at"),
            images=images,
        )


@router.post("/scans/{run_uid}/sweeps", dependencies=[needs(CREATE)], status_code=CREATED)
async def create_sweep(
    run: TheRun, wanted: SweepRequest, caller: TheCaller, office: TheOffice
) -> SweepAnswer:
    """Make one slice of a scan by several recipes that differ in one thing."""

    def ask(root: Any) -> SweepAnswer:
        content = wanted.model_dump(exclude={"recipe", "recipe_name"}, exclude_none=True)
        recipe = asked_recipe(root, wanted.recipe, wanted.recipe_name)
        sweep = parse_sweep({**content, "recipe": recipe.dump()})
        node, _ = request_sweep(root, run.run_uid, sweep, requested_by=caller.name)
        return SweepAnswer.of(tuple(node.path_parts), node.metadata)

    return await office.clerk.act(caller.authorization, ask)


@router.get("/sweeps/{run_uid}/{sweep_id}", dependencies=[needs(READ)])
async def read_sweep(run_uid: str, sweep_id: str, caller: TheCaller) -> SweepAnswer:
    """Return a sweep. `/api/v1/array/full/{path}/images?slice=0` reads its first picture."""
    path = (names.PROCESSED, run_uid, sweep_id)
    entry = await caller.node(*path, scopes=READ)
    if "sweep" not in entry.metadata():
        raise HTTPException(NOT_FOUND, detail=f"{'/'.join(path)} is no sweep")
    return SweepAnswer.of(path, entry.metadata(), await volume_of(caller, *path, names.IMAGES))


@router.post("/sweeps/{run_uid}/{sweep_id}/accept", dependencies=[needs(CREATE)])
async def accept_sweep(
    run_uid: str, sweep_id: str, wanted: PictureToAccept, caller: TheCaller, office: TheOffice
) -> RecipeAnswer:
    """Save the recipe of a sweep's picture, and say that it is good for the sweep's scan.

    From now on it is proposed for scans like that one.
    """

    def accept(root: Any) -> RecipeAnswer:
        node = child(root, names.PROCESSED, run_uid, sweep_id)
        label = Label(wanted.name, wanted.tags, wanted.note)
        saved = accept_picture(node, wanted.index, label, accepted_by=caller.name, direct=False)
        return RecipeAnswer.saved(saved)

    return await office.clerk.act(caller.authorization, accept)
