"""HTTP routes about batches: which there are, how each fares, how to ask for one and to steer it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import ConfigDict, Field
from tiled.catalog.adapter import Collision
from tiled.structures.core import StructureFamily

from tomoservice.catalog import names
from tomoservice.catalog.batch_records import (
    MOST_ITEMS,
    MOST_RECIPES,
    WAITING,
    BatchMetadata,
    BatchRecord,
    BatchState,
    ItemStatus,
    checked_batch,
    ordered_counts,
    state_of,
    summary_of,
)
from tomoservice.catalog.batches import (
    batch_spec,
    check_batch_id,
    find_batch,
    item_statuses,
    new_batch_id,
    reorder_items,
    resume_batch,
    retry_batch,
    steer_batch,
)
from tomoservice.catalog.controls import ENDING, Verb
from tomoservice.catalog.orders import order_of
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child
from tomoservice.errors import CatalogError
from tomoservice.service.answers import CONFLICT, FORBIDDEN, NOT_FOUND, REFUSALS, TAG, Refusal
from tomoservice.service.batch_lists import BatchLists
from tomoservice.service.callers import CREATE, LOOK, READ, STEER, Caller, TheCaller, needs
from tomoservice.service.catalogue import Row, tags_of_children
from tomoservice.service.models import Answer, Asked, ProgressAnswer
from tomoservice.service.office import TheOffice
from tomoservice.service.scans_api import Limit, Offset

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

OK, CREATED = 200, 201
EXAMPLE_RUNS = ("0b4d6b1e-6c1d-4f7e-9a53-0d2a3c1f7e11", "7c1f2a90-13be-4a5c-8a0b-52c8d9e0f3a2")


class BatchRequest(Asked):
    """A batch to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "runs": [*EXAMPLE_RUNS],
                "recipes": [{"rotation_axis": {"method": "auto"}}],
                "name": "night",
                "priority": "background",
            }
        }
    )

    id: str | None = None
    """Key of the batch; asking for the same twice makes one. Without it, the service chooses one."""
    runs: list[str] = Field(max_length=MOST_ITEMS)
    """Uids of the runs, each once."""
    recipes: list[dict[str, Any]] = Field([{}], min_length=1, max_length=MOST_RECIPES)
    """Recipes, by each of which every run is reconstructed; what they leave out is default."""
    name: str = ""
    """What people call it."""
    priority: JobPriority = JobPriority.BACKGROUND
    """How urgent it is: `background`, or `normal`."""


class OrderRequest(Asked):
    """The order of a batch's items."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [7, 3]}})

    items: list[int] = Field(max_length=MOST_ITEMS)
    """Numbers of items that come first, in this order; all others follow as they stood."""


class SummaryAnswer(Answer):
    """How a batch went, as far as it has. In a list of batches, only how many items are in which state."""

    items: int
    """How many items there are."""
    counts: dict[str, int]
    """How many in each state; `waiting`: the service has still to make them."""
    seconds: float | None = None
    """From the beginning of the first item that is done to the end of the last one."""
    computing_s: float = 0.0
    """What the items took that are done, together."""
    seconds_left: float | None = None
    """Estimate, by what those took that are done; null while there is nothing to base it on."""
    slices: int = 0
    """Slices of all volumes that are done."""
    slices_per_s: float | None = None
    """Slices for every second between the first beginning and the last end."""
    messages: dict[int, str] = Field(default_factory=dict)
    """Of items that failed or were cancelled: why."""


class ItemAnswer(Answer):
    """An item of a batch."""

    number: int
    """From 1, by which it is moved."""
    run_uid: str
    """Run that is reconstructed."""
    id: str
    """Key of the reconstruction."""
    path: str
    """Path of its node in Tiled."""
    recipe: str
    """What its recipe is called."""
    state: State | None = None
    """Where it stands; null before the service has made it."""
    message: str = ""
    """What a user should know."""
    seconds: float | None = None
    """How long it took, if it is done."""
    progress: ProgressAnswer | None = None
    """How far it is, while it is being computed."""


class BatchAnswer(Answer):
    """A batch, as it stands in a list."""

    id: str
    """Key of the batch."""
    name: str = ""
    """What people call it."""
    state: BatchState
    """Where it stands as a whole."""
    message: str = ""
    """Why the service does not make its items."""
    priority: JobPriority
    """How urgent its items were when they were asked for."""
    requested_by: str = ""
    """Who asked for it."""
    requested_at: float = 0.0
    """When, in seconds since 1970."""
    summary: SummaryAnswer
    """How it went, as far as it has."""


class BatchDetail(BatchAnswer):
    """A batch with its items."""

    recipes: list[dict[str, Any]]
    """Recipes, by each of which every run is reconstructed."""
    items: list[ItemAnswer]
    """Its items in the order in which they are worked on."""


class BatchPage(Answer):
    """Batches, a page at a time."""

    batches: list[BatchAnswer]
    """The newest first."""
    total: int
    """How many there are."""


class BatchAction(StrEnum):
    """What is to be done with a batch."""

    CANCEL = "cancel"
    """End everything that is not finished."""
    STOP = "stop"
    """Likewise, and keep what there is of the volumes readable."""
    PAUSE = "pause"
    """Begin no item, and put aside what is being computed."""
    RESUME = "resume"
    """Go on."""
    RETRY = "retry"
    """Queue what failed again; if the batch was ended, also what this ended."""


ACTIONS: Mapping[BatchAction, Callable[[Any, Any, str], object]] = {
    BatchAction.CANCEL: lambda root, node, by: steer_batch(root, node, Verb.CANCEL, by),
    BatchAction.STOP: lambda root, node, by: steer_batch(root, node, Verb.STOP, by),
    BatchAction.PAUSE: lambda root, node, by: steer_batch(root, node, Verb.PAUSE, by),
    BatchAction.RESUME: lambda _, node, __: resume_batch(node),
    BatchAction.RETRY: lambda root, node, _: retry_batch(root, node),
}


@router.get("/batches", dependencies=[needs(LOOK)])
async def list_batches(caller: TheCaller, limit: Limit = 50, offset: Offset = 0) -> BatchPage:
    """Return batches with how each fares, the newest first."""

    lists = BatchLists(caller)
    rows, total = await lists.page(slice(offset, offset + limit))
    standings = await lists.standings([row.path[-1] for row in rows])
    verbs = await lists.verbs([row.id for row in rows])

    def answers() -> list[BatchAnswer]:
        return [
            BatchAnswer(**_listed(row, standings.get(row.path[-1], {}), verbs.get(row.id, frozenset())))
            for row in rows
        ]

    # Thousands of uids and recipes are checked.
    return BatchPage(batches=await asyncio.to_thread(answers), total=total)


@router.post(
    "/batches",
    dependencies=[needs(CREATE)],
    status_code=CREATED,
    responses={
        OK: {"model": BatchDetail, "description": "It was there before."},
        CONFLICT: {"model": Refusal, "description": "Another batch has this id."},
    },
)
async def create_batch(
    wanted: BatchRequest, caller: TheCaller, office: TheOffice, response: Response
) -> BatchDetail:
    """Queue reconstructions of many runs, by one recipe or by each of several.

    Whoever may read every run and write beside it may ask. The service makes a hundred items every few
    seconds, of each batch in turn.
    """
    batch_id = wanted.id or new_batch_id()
    check_batch_id(batch_id)
    content = await asyncio.to_thread(checked_batch, wanted.model_dump(mode="json", exclude={"id"}))
    tags = await _common_tags(caller, content)
    said = content.model_dump(mode="json")
    said |= {"requested_by": caller.name, "requested_at": time.time()}
    folder = await caller.root.lookup_adapter([names.BATCHES])
    try:
        await folder.create_node(
            StructureFamily.container, said, key=batch_id, specs=[batch_spec()], access_tags=tags
        )
    except Collision:
        response.status_code = OK
        await _check_same(caller, batch_id, said)
    office.submitter.poke()
    return await _detail(batch_id, caller, office)


@router.get("/batches/{batch_id}", dependencies=[needs(READ)])
async def read_batch(batch_id: str, caller: TheCaller, office: TheOffice) -> BatchDetail:
    """Return a batch with its items: where each stands, how far it is, and how it went."""
    return await _detail(batch_id, caller, office)


@router.post("/batches/{batch_id}/{action}", dependencies=[needs(STEER)])
async def steer(batch_id: str, action: BatchAction, caller: TheCaller, office: TheOffice) -> BatchDetail:
    """Cancel, stop, pause or resume a batch, or queue what failed again."""
    await caller.node(names.BATCHES, batch_id, scopes=STEER)

    def act(root: Any) -> None:
        ACTIONS[action](root, find_batch(root, batch_id), caller.name)

    await office.clerk.act(caller.authorization, act)
    return await _detail(batch_id, caller, office)


@router.put("/batches/{batch_id}/order", dependencies=[needs(STEER)])
async def reorder_batch(
    batch_id: str, wanted: OrderRequest, caller: TheCaller, office: TheOffice
) -> BatchDetail:
    """Work on some items first; what others change at the same time is not lost."""
    await caller.node(names.BATCHES, batch_id, scopes=STEER)

    def act(root: Any) -> None:
        reorder_items(find_batch(root, batch_id), wanted.items)

    await office.clerk.act(caller.authorization, act)
    return await _detail(batch_id, caller, office)


async def _common_tags(caller: Caller, content: BatchMetadata) -> list[str] | None:
    """Return the tags that a batch gets; answers 404 or 403 for runs that the caller may not use."""
    wanted = [*READ, *CREATE]
    tags = await tags_of_children(await caller.allowing(names.RAW, scopes=wanted), content.runs)
    missing = next((run for run in content.runs if run not in tags), None)
    if missing is not None:
        await caller.node(names.RAW, missing, scopes=wanted)
        raise HTTPException(NOT_FOUND, detail=f"there is no run {missing}, or none that this key may use")
    common = set.intersection(*tags.values())
    if any(tags.values()) and not common:
        raise HTTPException(
            FORBIDDEN,
            detail="runs: no access tag is common to all of them, so that the batch could be read by the "
            "right people only; ask for a batch for each proposal",
        )
    return sorted(common) or None


async def _check_same(caller: Caller, batch_id: str, said: Mapping[str, Any]) -> None:
    """Answer 409 unless a batch that is there is the one that is asked for."""
    entry = await caller.container(names.BATCHES, batch_id)
    there = {} if entry is None else entry.metadata()
    if any(there.get(key) != said[key] for key in ("runs", "recipes", "priority")):
        raise HTTPException(CONFLICT, detail=f"id: another batch is called {batch_id!r}; choose another")


async def _detail(batch_id: str, caller: Caller, office: TheOffice) -> BatchDetail:
    await caller.node(names.BATCHES, batch_id, scopes=READ)

    def read(root: Any) -> BatchDetail:
        node = find_batch(root, batch_id)
        statuses = item_statuses(root, node)
        record = BatchRecord.from_node(node)
        called = record.metadata.recipe_names
        return BatchDetail(
            **_answer(record, [each.state for each in statuses], order_of(node).verbs, _summary(statuses)),
            recipes=list(record.metadata.recipes),
            items=[_item(root, status, called[status.item.recipe]) for status in statuses],
        )

    return await office.clerk.act(caller.authorization, read)


def _listed(row: Row, standing: Mapping[str, int], verbs: frozenset[Verb]) -> dict[str, Any]:
    """Return what is said of a batch in a list."""
    batch_id = row.path[-1]
    try:
        record = BatchRecord(batch_id, checked_batch(row.metadata, f"{names.BATCHES}/{batch_id}"))
    except CatalogError as error:
        return {
            "id": batch_id,
            "state": BatchState.REFUSED,
            "message": str(error),
            "priority": JobPriority.BACKGROUND,
            "summary": SummaryAnswer(items=0, counts={}),
        }
    items = len(record.metadata.runs) * len(record.metadata.recipes)
    counts = ordered_counts(items, standing, submitted=record.metadata.submitted)
    states = [None if state == WAITING else State(state) for state in counts]
    return _answer(record, states, verbs, SummaryAnswer(items=items, counts=counts))


def _answer(
    record: BatchRecord,
    states: Iterable[State | None],
    verbs: frozenset[Verb],
    summary: SummaryAnswer,
) -> dict[str, Any]:
    said = record.metadata
    return {
        "id": record.batch_id,
        "name": said.name,
        "state": state_of(said, states, is_paused=Verb.PAUSE in verbs, is_ending=bool(verbs & ENDING)),
        "message": said.message,
        "priority": said.priority,
        "requested_by": said.requested_by,
        "requested_at": said.requested_at,
        "summary": summary,
    }


def _summary(statuses: Sequence[ItemStatus]) -> SummaryAnswer:
    summary = summary_of(statuses)
    return SummaryAnswer(
        items=summary.items,
        counts=dict(summary.counts),
        seconds=summary.seconds,
        computing_s=summary.computing_s,
        seconds_left=summary.seconds_left,
        slices=summary.slices,
        slices_per_s=summary.slices_per_s,
        messages=dict(summary.messages),
    )


def _item(root: Any, status: ItemStatus, recipe: str) -> ItemAnswer:
    item, progress = status.item, None
    if status.state is State.RUNNING:
        try:
            progress = child(root, *item.path.split("/"), names.PROGRESS).metadata
        except NotFoundError:
            # Nobody has said yet.
            progress = None
    return ItemAnswer(
        number=item.number,
        run_uid=item.run_uid,
        id=item.key,
        path=item.path,
        recipe=recipe,
        state=status.state,
        message=status.message,
        seconds=status.seconds,
        progress=ProgressAnswer.of(progress),
    )
