"""HTTP routes about scans that are reconstructed while they go on."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, HTTPException, Query, Response
from pydantic import ConfigDict, ValidationError
from sqlalchemy import select
from tiled.catalog import orm
from tiled.ndslice import NDSlice
from tiled.utils import ensure_awaitable

from tomoservice.catalog import names
from tomoservice.catalog.live_nodes import wish
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveWishes
from tomoservice.catalog.transport import child
from tomoservice.service.answers import NOT_FOUND, REFUSALS, TAG
from tomoservice.service.callers import LOOK, READ, Caller, TheCaller, needs
from tomoservice.service.catalogue import fetch, newest_first
from tomoservice.service.models import Answer
from tomoservice.service.office import TheOffice
from tomoservice.service.pixels import PixelFormat, encoded

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

NOT_MODIFIED = 304
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}, "image/png": {}}},
    NOT_MODIFIED: {"description": "It looks as it did."},
}
WISH = ["write:metadata"]


class LiveSummary(Answer):
    """A live reconstruction."""

    run_uid: str
    """The run."""
    path: str
    """Path of its node in Tiled; its pictures are at `{path}/xy`, `xz`, `yz` and `volume`."""
    over: bool
    """Whether nothing follows."""
    live: LiveMetadata
    """What it says of itself."""


class LiveList(Answer):
    """The live reconstructions that are kept."""

    scans: list[LiveSummary]
    """The latest first."""


class LiveDetail(LiveSummary):
    """A live reconstruction with what is wished of it."""

    model_config = ConfigDict(frozen=True)

    wishes: LiveWishes
    """What is wished of it."""
    shapes: dict[LivePicture, list[int]]
    """Shape of each picture that is there."""


def _summary(run_uid: str, metadata: Any) -> LiveSummary | None:
    """Return a live reconstruction, or None of a node that is none."""
    try:
        live = LiveMetadata.model_validate(dict(metadata))
    except ValidationError:
        return None
    return LiveSummary(run_uid=run_uid, path=f"{names.LIVE}/{run_uid}", over=live.state.is_over, live=live)


@router.get("/live", dependencies=[needs(LOOK)])
async def list_live(caller: TheCaller) -> LiveList:
    """Return the scans that are, or lately were, reconstructed while they went on."""
    container = await caller.container(names.LIVE)
    if container is None:
        return LiveList(scans=[])
    columns = select(orm.Node.key, orm.Node.metadata_.label("content"))
    rows = await fetch(container, container._scoped(columns).order_by(newest_first()))
    found = [_summary(row.key, row.content) for row in rows]
    return LiveList(scans=[each for each in found if each is not None])


@router.get("/live/{run_uid}", dependencies=[needs(LOOK)])
async def read_live(run_uid: str, caller: TheCaller) -> LiveDetail:
    """Return the live reconstruction of a scan, and what is wished of it."""
    entry = await caller.node(names.LIVE, run_uid)
    found = _summary(run_uid, entry.metadata())
    if found is None:
        raise HTTPException(NOT_FOUND, detail=f"{names.LIVE}/{run_uid} is no live reconstruction")
    wishes = await caller.node(names.LIVE, run_uid, names.WISHES)
    shapes = {}
    for picture in LivePicture:
        node = await _picture(caller, run_uid, picture)
        if node is not None:
            shapes[picture] = list(node.structure().shape)
    return LiveDetail(
        **found.model_dump(), wishes=LiveWishes.model_validate(dict(wishes.metadata())), shapes=shapes
    )


async def _picture(caller: Caller, run_uid: str, picture: LivePicture) -> Any | None:
    try:
        return await caller.node(names.LIVE, run_uid, picture.value)
    except HTTPException as error:
        if error.status_code != NOT_FOUND:
            raise
        return None


@router.get(
    "/live/{run_uid}/pictures/{picture}",
    responses=PICTURE,
    response_class=Response,
    dependencies=[needs(READ)],
)
async def read_live_picture(  # noqa: PLR0913, PLR0917 - one argument for each parameter of the query
    run_uid: str,
    picture: LivePicture,
    caller: TheCaller,
    z: Annotated[int, Query(ge=0, description="Layer of the volume; of no use to the slices.")] = 0,
    format: Annotated[  # noqa: A002 - its name in the address
        PixelFormat, Query(description="How pixels are sent; as of a preview.")
    ] = PixelFormat.PNG,
    low: Annotated[float | None, Query(description="Value that becomes black.")] = None,
    high: Annotated[float | None, Query(description="Value that becomes white.")] = None,
    if_none_match: Annotated[str | None, Header(description="`ETag` of the picture one has.")] = None,
) -> Response:
    """Return a picture of a live reconstruction as it is now."""
    about = await caller.node(names.LIVE, run_uid)
    metadata = dict(about.metadata())
    # Its time, too: the node of a run that is followed anew counts from the beginning.
    tag = f'"{metadata.get("update", 0)}-{metadata.get("updated", "")}"'
    if if_none_match == tag:
        return Response(status_code=NOT_MODIFIED, headers={"ETag": tag})
    entry = await caller.node(names.LIVE, run_uid, picture.value, scopes=READ)
    depth = entry.structure().shape[0]
    if picture is LivePicture.VOLUME and z >= depth:
        raise HTTPException(
            NOT_FOUND, detail=f"the live volume has {depth} layers, 0 to {depth - 1}, got {z}"
        )
    chosen = NDSlice(z) if picture is LivePicture.VOLUME else NDSlice()
    image = np.asarray(await ensure_awaitable(entry.read, chosen), np.float32)
    content, levels = await asyncio.to_thread(encoded, image, format, low, high)
    headers = {
        "ETag": tag,
        "X-Tomo-Shape": ",".join(map(str, image.shape)),
        "X-Tomo-Dtype": format.dtype,
        "X-Tomo-Frames": str(metadata.get("frames_used", "")),
    }
    if levels is not None:
        headers |= {"X-Tomo-Low": repr(levels[0]), "X-Tomo-High": repr(levels[1])}
    headers["Access-Control-Expose-Headers"] = ", ".join(headers)
    return Response(content, media_type=format.media_type, headers=headers)


@router.post("/live/{run_uid}/wishes", dependencies=[needs(WISH)])
async def wish_live(run_uid: str, wanted: LiveWishes, caller: TheCaller, office: TheOffice) -> LiveWishes:
    """Wish for other slices, another axis, or an end; the next update follows.

    What is not mentioned stays as it is.
    """
    await caller.node(names.LIVE, run_uid, names.WISHES, scopes=WISH)
    said = wanted.model_dump(mode="json", exclude_unset=True)

    def change(root: Any) -> LiveWishes:
        return wish(child(root, names.LIVE, run_uid), said)

    return await office.clerk.act(caller.authorization, change)
