"""HTTP routes about reconstructions: which there are, where each stands, and how to ask for one."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, HTTPException, Query
from pydantic import ConfigDict, Field, model_validator
from tiled.structures.core import StructureFamily

from tomoservice.catalog import names
from tomoservice.catalog.controls import said_priority
from tomoservice.catalog.nodes import request_reconstruction
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.catalog.steering import checked_priority
from tomoservice.errors import CatalogError
from tomoservice.service.answers import NOT_FOUND, REFUSALS, TAG
from tomoservice.service.callers import CREATE, LOOK, READ, Caller, TheCaller, TheRun, needs
from tomoservice.service.models import (
    Asked,
    ReconstructionDetail,
    ReconstructionPage,
    ReconstructionSummary,
    VolumeAnswer,
)
from tomoservice.service.office import TheOffice
from tomoservice.service.recipes_api import asked_recipe
from tomoservice.service.scan_lists import ScanLists, in_states
from tomoservice.service.scans_api import Limit, Offset

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

CREATED = 201


class ReconstructionRequest(Asked):
    """A reconstruction to be made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"recipe": {"rotation_axis": {"method": "value", "value": 295.5}}}},
    )

    recipe: dict[str, Any] | None = None
    """The recipe; what it leaves out is default."""
    recipe_name: str | None = Field(None, max_length=200)
    """Name of a saved recipe, `name` or `name@2`, or of one that comes with the package; beside `recipe`,
    what to call that. Without either, `default`."""

    priority: JobPriority = JobPriority.NORMAL
    """`normal`, or `background`: after everything else."""

    virtual: bool = False
    """Whether it is described, but not queued: its volume can be read all the same, and only what somebody
    reads is computed, until `retry` queues it."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.recipe_name == "":
            raise ValueError("recipe_name is empty; leave it out")
        return self


@router.get("/reconstructions", dependencies=[needs(LOOK)])
async def list_reconstructions(
    caller: TheCaller,
    office: TheOffice,
    state: Annotated[list[State] | None, Query(description="Only those in one of these states.")] = None,
    run_uid: Annotated[str | None, Query(description="Only those of this run.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> ReconstructionPage:
    """Return reconstructions of all runs, the newest request first."""
    lists = ScanLists(caller, office.outliner)
    return await lists.reconstructions(in_states(state or []), slice(offset, offset + limit), run_uid)


@router.post("/scans/{run_uid}/reconstructions", dependencies=[needs(CREATE)], status_code=CREATED)
async def create_reconstruction(
    run: TheRun, wanted: ReconstructionRequest, caller: TheCaller, office: TheOffice
) -> ReconstructionSummary:
    """Queue a reconstruction of a scan, or only describe it (`virtual`)."""

    def ask(root: Any) -> ReconstructionSummary:
        recipe = asked_recipe(root, wanted.recipe, wanted.recipe_name)
        if wanted.recipe_name is not None:
            recipe = recipe.model_copy(update={"name": wanted.recipe_name.partition("@")[0]})
        priority = checked_priority(wanted.priority)
        node, _ = request_reconstruction(
            root,
            run.run_uid,
            recipe,
            requested_by=caller.name,
            priority=priority,
            virtual=wanted.virtual,
        )
        return ReconstructionSummary.of(ReconstructionRecord.from_node(node))

    return await office.clerk.act(caller.authorization, ask)


@router.get("/reconstructions/{run_uid}/{reconstruction_id}", dependencies=[needs(READ)])
async def read_reconstruction(
    run_uid: str, reconstruction_id: str, caller: TheCaller, office: TheOffice
) -> ReconstructionDetail:
    """Return all that is known of a reconstruction."""
    path = (names.PROCESSED, run_uid, reconstruction_id)
    entry = await caller.node(*path, scopes=READ)
    try:
        record = ReconstructionRecord.from_metadata(path, entry.metadata(), sorted(entry.access_tags))
    except CatalogError as error:
        raise HTTPException(NOT_FOUND, detail=str(error)) from error
    progress = await caller.container(*path, names.PROGRESS)
    quality = await caller.container(*path, names.QUALITY)
    control = await caller.container(*path, names.CONTROL_PRIORITY)
    priority = None if control is None else said_priority(control.metadata())
    samples = await ScanLists(caller, office.outliner).samples({run_uid})
    detail = ReconstructionDetail.detailed(
        record,
        None if progress is None else progress.metadata(),
        samples.get(run_uid),
        volume=await volume_of(caller, *path, names.VOLUME),
        quality=[] if quality is None else list(await quality.keys_range()),
    )
    return detail.model_copy(update={"priority": priority or detail.priority})


async def volume_of(caller: Caller, *path: str) -> VolumeAnswer | None:
    """Return what is said of an array that is computed; None if it has not been described."""
    entry = await caller.container(*path)
    if entry is None or entry.structure_family is not StructureFamily.array:
        return None
    structure = entry.structure()
    return VolumeAnswer(
        path="/".join(path),
        shape=tuple(structure.shape),
        chunks=tuple(each[0] if each else 0 for each in structure.chunks),
        dtype=structure.data_type.to_numpy_dtype().name,
        metadata=dict(entry.metadata()),
    )
