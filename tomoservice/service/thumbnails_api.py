"""HTTP routes that give small pictures of scans, for lists."""

from __future__ import annotations

import asyncio
import hashlib
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, HTTPException, Query, Response
from numpy.typing import NDArray

from tomoservice.catalog import names
from tomoservice.catalog.states import State
from tomoservice.compute.base import Priority
from tomoservice.compute.orders import RunAddress
from tomoservice.compute.showing import thumbnail
from tomoservice.errors import MissingDataError
from tomoservice.service import catalogue
from tomoservice.service.answers import NOT_FOUND, REFUSALS, TAG, WORKING
from tomoservice.service.callers import READ, Caller, TheCaller, TheRun, needs
from tomoservice.service.desk import never
from tomoservice.service.office import Office, TheOffice
from tomoservice.service.thumbnails import NARROWEST, WIDTH, central_slice, narrowed
from tomoservice.store import folder_of

router = APIRouter(prefix="/tomo", tags=[TAG], responses={**REFUSALS, **WORKING})

NOT_MODIFIED = 304
KEPT_S = 60
"""Seconds for which a browser need not ask again."""


class Pictured(StrEnum):
    """What a small picture of a scan shows."""

    PROJECTION = "projection"
    """The projection in the middle of the scan, after the flat field if there is one."""
    SLICE = "slice"
    """The slice in the middle of the newest volume that is done."""


@router.get(
    "/scans/{run_uid}/thumbnail",
    responses={200: {"content": {"image/png": {}}}, NOT_MODIFIED: {"description": "It looks as it did."}},
    response_class=Response,
    dependencies=[needs(READ)],
)
async def read_thumbnail(
    run: TheRun,
    caller: TheCaller,
    office: TheOffice,
    kind: Annotated[Pictured, Query(description="What it shows.")] = Pictured.PROJECTION,
    width: Annotated[int, Query(ge=NARROWEST, le=WIDTH, description="Columns, at most.")] = 256,
    if_none_match: Annotated[str | None, Header(description="`ETag` of the picture one has.")] = None,
) -> Response:
    """Return a small picture of a scan as PNG; it is made once and kept."""
    if kind is Pictured.PROJECTION:
        content = await _projection(run, caller, office)
    else:
        content = await _slice(run.run_uid, caller, office)
    content = await asyncio.to_thread(narrowed, content, width)
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Cache-Control": f"private, max-age={KEPT_S}",
    }
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


async def _projection(run: RunAddress, caller: Caller, office: Office) -> bytes:
    entry = await caller.node(names.RAW, run.run_uid)

    async def make() -> NDArray[np.float32]:
        readers = office.readers
        # Lists of many scans do not hold up whoever turns knobs.
        return await readers.desk.ask(Priority.LIVE, never, thumbnail, run, WIDTH, readers.memory_bytes)

    ended = bool(entry.metadata().get("stop"))
    # What flats of another run may be used depends on who may see the result.
    name = "\n".join(("projection", run.run_uid, *run.access_tags))
    return await office.thumbnails.picture(name, make, keep=ended)


async def _slice(run_uid: str, caller: Caller, office: Office) -> bytes:
    path, since = await _newest_volume(run_uid, caller)
    folder = folder_of(office.settings.volumes_folder, *path)

    async def make() -> NDArray[np.float32]:
        return await asyncio.to_thread(partial(central_slice, folder))

    try:
        return await office.thumbnails.picture("\n".join(("slice", *path, str(since))), make, keep=True)
    except MissingDataError as error:
        # It has been deleted meanwhile.
        raise HTTPException(NOT_FOUND, detail=str(error)) from error


async def _newest_volume(run_uid: str, caller: Caller) -> tuple[tuple[str, str], Any]:
    """Return run and key of the newest reconstruction that is done, and since when it is."""
    processed = await caller.container(names.PROCESSED)
    found = {} if processed is None else await catalogue.standings(processed, [run_uid])
    done = [each for each in found.get(run_uid, ()) if each.state == State.DONE]
    if not done:
        raise HTTPException(
            NOT_FOUND, detail=f"there is no volume of {run_uid} that is done; ask for kind=projection"
        )
    entry = await caller.node(names.PROCESSED, run_uid, done[-1].key, scopes=READ)
    status = entry.metadata().get("status") or {}
    return (run_uid, done[-1].key), status.get("time")
