"""HTTP routes for whoever watches over the service: is it well, and numbers for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from tiled.catalog import orm

from tomoservice import __version__
from tomoservice.catalog import names
from tomoservice.catalog.states import State
from tomoservice.errors import TomoserviceError
from tomoservice.housekeeping.space import free_bytes, readable_size
from tomoservice.service import catalogue
from tomoservice.service.answers import REFUSALS, TAG, UNAVAILABLE
from tomoservice.service.callers import needs
from tomoservice.service.catalogue import said
from tomoservice.service.measures import Standing
from tomoservice.service.models import Answer
from tomoservice.service.office import Office, TheOffice

router = APIRouter(prefix="/tomo", tags=[TAG])

PATIENCE_S = 5.0
"""How long a check may take."""
WATCH = ["metrics"]
"""Scopes of whoever wants to see numbers about the whole service: those of Tiled's own metrics."""


class Verdict(StrEnum):
    """Whether something is as it should be."""

    OK = "ok"
    FAILED = "failed"


class Check(Answer):
    """What was looked at, and how it is."""

    name: str
    """`database`, `workers` or `disk`."""
    status: Verdict
    """Whether it is well."""
    message: str
    """How it is, and what to do if it is not well."""
    seconds: float
    """How long it took to find out."""


class Health(Answer):
    """Whether the service is well: every check has to be."""

    status: Verdict
    """Whether all is well."""
    version: str
    """Version of the package."""
    checks: list[Check]
    """What was looked at."""


@router.get(
    "/health",
    responses={UNAVAILABLE: {"model": Health, "description": "Something is not well; says what."}},
)
async def health(request: Request, response: Response, office: TheOffice) -> Health:
    """Say whether the service is well, with status 200, or 503 if something is not.

    No key is needed. For whether the process answers at all ask Tiled's `/healthz`: a server without workers
    still gives what is stored.
    """
    tree = request.app.state.root_tree
    checks = await asyncio.gather(
        _checked("database", lambda: _database(tree)),
        _checked("workers", lambda: _workers(office)),
        _checked("disk", lambda: _disk(office)),
    )
    well = all(check.status is Verdict.OK for check in checks)
    if not well:
        response.status_code = UNAVAILABLE
    return Health(status=Verdict.OK if well else Verdict.FAILED, version=__version__, checks=list(checks))


class _NotWellError(Exception):
    """A check found something."""


async def _checked(name: str, look: Callable[[], Awaitable[str]]) -> Check:
    began = time.monotonic()
    try:
        message, status = await asyncio.wait_for(look(), PATIENCE_S), Verdict.OK
    except TimeoutError:
        message, status = f"no answer within {PATIENCE_S:g} s", Verdict.FAILED
    except _NotWellError as error:
        message, status = str(error), Verdict.FAILED
    return Check(name=name, status=status, message=message, seconds=round(time.monotonic() - began, 4))


async def _database(tree: Any) -> str:
    try:
        async with tree.context.session() as session:
            await session.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError) as error:
        # Its own words may name the host and the user.
        raise _NotWellError(
            f"the catalogue's database does not answer ({type(error).__name__}); see the server's log"
        ) from error
    return "the catalogue's database answers"


async def _workers(office: Office) -> str:
    try:
        slots = await office.readers.desk.slots()
    except TomoserviceError as error:
        raise _NotWellError(
            "nobody computes at present: start a conductor, or look at its log; what is stored can be read"
        ) from error
    return f"workers do {slots} tasks at once"


async def _disk(office: Office) -> str:
    try:
        free = await asyncio.to_thread(free_bytes, office.settings.volumes_folder)
    except OSError as error:
        # A share that is gone, for instance. The route is open to anybody: the folder is not named.
        raise _NotWellError(
            f"the folder for volumes cannot be reached ({error.strerror or type(error).__name__}); "
            "is its share mounted?"
        ) from error
    reserve = office.settings.housekeeping.reserve_bytes
    if free < reserve:
        raise _NotWellError(
            f"{readable_size(free)} are free for volumes and {readable_size(reserve)} have to stay so "
            "(housekeeping.reserve_bytes): no reconstruction is begun; delete some and run `tomoservice gc`"
        )
    return f"{readable_size(free)} are free for volumes"


@router.get(
    "/metrics",
    dependencies=[needs(WATCH)],
    responses={**REFUSALS, 200: {"content": {"text/plain": {}}}},
    response_class=Response,
)
async def metrics(request: Request, office: TheOffice) -> Response:
    """Return numbers for Prometheus: those of this service, then Tiled's own of this server process.

    Reconstructions, workers and disk are the same from every server process; the seconds of interactive
    requests are those of the process that answers.
    """
    standing = await _standing(request.app.state.root_tree, office)
    return Response(
        office.readers.measures.text(standing) + bytes(generate_latest()),
        headers={"Content-Type": CONTENT_TYPE_LATEST},
    )


async def _standing(tree: Any, office: Office) -> Standing:
    processed = await tree.lookup_adapter([names.PROCESSED])
    state = said("status", "state").label("state")
    found = catalogue.reconstructions_of(processed)
    counts = {
        row.state: row.many
        for row in await catalogue.fetch(
            processed, found._scoped(select(state, func.count().label("many"))).group_by(state)
        )
    }
    running = await catalogue.fetch(
        processed, found._scoped(select(orm.Node.id)).where(said("status", "state") == State.RUNNING.value)
    )
    progress = await catalogue.children_of(processed, [row.id for row in running], names.PROGRESS)
    try:
        slots = await asyncio.wait_for(office.readers.desk.slots(), PATIENCE_S)
    except (TomoserviceError, TimeoutError):
        slots = 0
    return Standing(
        reconstructions=counts,
        slabs_done=sum(int(each.get("slabs_done") or 0) for each in progress.values()),
        slabs_total=sum(int(each.get("slabs_total") or 0) for each in progress.values()),
        slots=slots,
        free_bytes=await asyncio.to_thread(free_bytes, office.settings.volumes_folder),
        listeners=office.events.listeners,
    )
