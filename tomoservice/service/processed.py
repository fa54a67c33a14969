"""Making room for the reconstructions of a run, for people who may not write into ``/processed`` itself."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, HTTPException
from tiled.catalog.adapter import Collision
from tiled.structures.core import StructureFamily

from tomoservice.catalog import names
from tomoservice.service.answers import UNPROCESSABLE
from tomoservice.service.callers import CREATE, TheCaller, needs

router = APIRouter()


@router.post("/tomo/processed/{run_uid}", dependencies=[needs(CREATE)])
async def make_room(run_uid: str, caller: TheCaller) -> dict[str, str]:
    """Make `/processed/{run_uid}`, unless it is there, with the tags of the run.

    Whoever may read a run and write beside it may ask.
    """
    if not names.is_key(run_uid):
        raise HTTPException(UNPROCESSABLE, detail=f"{run_uid!r} is no key of a run")
    run = await caller.node(names.RAW, run_uid, scopes=["read:data", *CREATE])
    processed = await caller.root.lookup_adapter([names.PROCESSED])
    with suppress(Collision):
        await processed.create_node(
            StructureFamily.container, {"raw_uid": run_uid}, key=run_uid, access_tags=run.access_tags
        )
    return {"path": f"{names.PROCESSED}/{run_uid}"}
