"""HTTP routes about batches: which there are, how each fares, how to ask for one and to steer it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from tiled.catalog.adapter import Collision
from tiled.structures.core import StructureFamily

from tomoservice.catalog import names
from tomoservice.catalog.additions import add_to_batch
from tomoservice.catalog.batch_records import BatchMetadata, BatchRecord, checked_batch
from tomoservice.catalog.batch_standing import (
    WAITING,
    BatchState,
    ItemStatus,
    ordered_counts,
    state_of,
    summary_of,
)
from tomoservice.catalog.batches import (
    batch_spec,
    check_batch_id,
    find_batch,
    look_at_batch,
    new_batch_id,
    reorder_items,
    resume_batch,
    retry_batch,
    steer_batch,
)
from tomoservice.catalog.controls import ENDING, Verb
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child
from tomoservice.errors import CatalogError
from tomoservice.service.answers import CONFLICT, FORBIDDEN, NOT_FOUND, REFUSALS, TAG, Refusal
from tomoservice.service.batch_lists import BatchLists
from tomoservice.service.batch_models import (
    AdditionRequest,
    BatchAction,
    BatchAnswer,
    BatchDetail,
    BatchPage,
    BatchRequest,
    ItemAnswer,
    OrderRequest,
    SummaryAnswer,
)
from tomoservice.service.callers import CREATE, LOOK, READ, STEER, Caller, TheCaller, needs
from tomoservice.service.catalogue import Row, tags_of_children
from tomoservice.service.models import ProgressAnswer
from tomoservice.service.office import TheOffice
from tomoservice.service.scans_api import Limit, Offset

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

OK, CREATED = 200, 201
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
    additions = await lists.additions([row.id for row in rows])

    def answers() -> list[BatchAnswer]:
        return [
            BatchAnswer(
                **_listed(
                    row,
                    additions.get(row.id, {}),
                    standings.get(row.path[-1], {}),
                    verbs.get(row.id, frozenset()),
                )
            )
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


@router.post(
    "/batches/{batch_id}/items",
    dependencies=[needs(CREATE)],
    status_code=CREATED,
    responses={
        FORBIDDEN: {"model": Refusal, "description": "A run is not for the people that the batch is for."},
        CONFLICT: {
            "model": Refusal,
            "description": "The batch was cancelled, stopped or refused, or has one of these items already.",
        },
    },
)
async def add_items(
    batch_id: str, wanted: AdditionRequest, caller: TheCaller, office: TheOffice
) -> BatchDetail:
    """Add runs to a batch, by its own recipes or by others; it may be paused or finished.

    Whoever may read every run and write beside it may ask, if all access tags of the batch are among the
    run's. Items that are there keep their numbers; the new ones come after them, and after whatever somebody
    else added a moment before.
    """
    await caller.node(names.BATCHES, batch_id, scopes=CREATE)

    def act(root: Any) -> None:
        add_to_batch(root, find_batch(root, batch_id), wanted.runs, wanted.recipes, caller.name)

    await office.clerk.act(caller.authorization, act)
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
        look = look_at_batch(root, find_batch(root, batch_id))
        record, called = look.record, look.record.recipe_names
        states = [each.state for each in look.statuses]
        return BatchDetail(
            **_answer(record, states, look.order.verbs, _summary(look.statuses)),
            recipes=[recipe.dump() for recipe in record.recipes],
            items=[_item(root, status, called[status.item.recipe]) for status in look.statuses],
        )

    return await office.clerk.act(caller.authorization, read)


def _listed(
    row: Row, additions: Mapping[str, Any], standing: Mapping[str, int], verbs: frozenset[Verb]
) -> dict[str, Any]:
    """Return what is said of a batch in a list."""
    batch_id = row.path[-1]
    try:
        record = BatchRecord.of(batch_id, row.metadata, additions)
    except CatalogError as error:
        return {
            "id": batch_id,
            "state": BatchState.REFUSED,
            "message": str(error),
            "priority": JobPriority.BACKGROUND,
            "takes_more": False,
            "summary": SummaryAnswer(items=0, counts={}),
        }
    items = record.size
    counts = ordered_counts(items, standing, submitted=record.submitted)
    states = [None if state == WAITING else State(state) for state in counts]
    return _answer(record, states, verbs, SummaryAnswer(items=items, counts=counts))


def _answer(
    record: BatchRecord,
    states: Iterable[State | None],
    verbs: frozenset[Verb],
    summary: SummaryAnswer,
) -> dict[str, Any]:
    said, is_ending = record.metadata, bool(verbs & ENDING)
    return {
        "id": record.batch_id,
        "name": said.name,
        "state": state_of(record, states, is_paused=Verb.PAUSE in verbs, is_ending=is_ending),
        "message": said.message,
        "priority": said.priority,
        "requested_by": said.requested_by,
        "requested_at": said.requested_at,
        "takes_more": not said.message and not is_ending,
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
