"""HTTP routes about scans: which there are, what they are like."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement
from tiled.catalog import orm

from tomoservice.catalog import names
from tomoservice.errors import TomoserviceError
from tomoservice.service.answers import REFUSALS, TAG
from tomoservice.service.callers import LOOK, READ, Caller, TheCaller, needs
from tomoservice.service.catalogue import MOST, newest_first, said
from tomoservice.service.models import Acquisition, ScanDetail, ScanPage
from tomoservice.service.office import Office, TheOffice
from tomoservice.service.scan_lists import BRIEF, ScanLists, acquired, called, details_of

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)


class ScanOrder(StrEnum):
    """In which order scans are listed."""

    NEWEST = "newest"
    """The latest first."""
    OLDEST = "oldest"
    """The earliest first."""
    SAMPLE = "sample"
    """By the name of the sample; the latest of each first."""


MOST_BEFORE = 10**9
"""Rows before a page, at most: databases count no farther than 64 bits."""
Limit = Annotated[int, Query(ge=1, le=MOST, description="Rows of a page.")]
Offset = Annotated[int, Query(ge=0, le=MOST_BEFORE, description="Rows before the page.")]


@router.get("/scans", dependencies=[needs(LOOK)])
async def list_scans(  # noqa: PLR0913, PLR0917 - one argument for each parameter of the query
    caller: TheCaller,
    office: TheOffice,
    limit: Limit = 50,
    offset: Offset = 0,
    q: Annotated[
        str,
        Query(
            max_length=200,
            pattern=names.TEXT_PATTERN,
            description="Words that all stand in the start document (sample, plan...), or begin the uid; "
            "the first 10 count.",
        ),
    ] = "",
    state: Annotated[
        Acquisition | None, Query(description="Only scans whose acquisition is in this state.")
    ] = None,
    sort: Annotated[ScanOrder, Query(description="Order.")] = ScanOrder.NEWEST,
) -> ScanPage:
    """Return scans with what has been made of each, a page at a time."""
    conditions = [*called(q), *([] if state is None else [acquired(state)])]
    scans, total = await ScanLists(caller, office.outliner).scans(
        conditions, _order(sort), slice(offset, offset + limit)
    )
    return ScanPage(scans=scans, total=total)


def _order(sort: ScanOrder) -> list[ColumnElement[Any]]:
    match sort:
        case ScanOrder.NEWEST:
            return [newest_first()]
        case ScanOrder.OLDEST:
            return [orm.Node.id.asc()]
        case ScanOrder.SAMPLE:
            return [said("start", "sample_name"), newest_first()]


@router.get("/scans/{run_uid}", dependencies=[needs(READ)])
async def read_scan(run_uid: str, caller: TheCaller, office: TheOffice) -> ScanDetail:
    """Return all that is known of a scan, with its reconstructions and sweeps.

    A run that cannot be read as a scan is returned with the reason in `problem`.
    """
    lists = ScanLists(caller, office.outliner)
    row, values = await lists.scan(run_uid)
    made = await lists.reconstructions([], slice(0, BRIEF), run_uid)
    return ScanDetail(
        **{**values, **await _opened(run_uid, caller, office, ended=bool(row.metadata.get("stop")))},
        **details_of(row),
        latest_reconstructions=made.reconstructions,
        sweeps=await lists.sweeps(run_uid),
    )


async def _opened(run_uid: str, caller: Caller, office: Office, *, ended: bool) -> dict[str, Any]:
    """Return what opening a run tells, or why it cannot be opened."""
    entry = await caller.node(names.RAW, run_uid, scopes=READ)
    try:
        facts = await office.runs.describe(office.readers.run(run_uid, entry.access_tags), ended=ended)
    except TomoserviceError as error:
        return {"problem": str(error)}
    return {
        **facts.model_dump(
            include={
                *("projections", "rows", "columns", "dtype", "size_bytes", "rotation_axis"),
                *("pixel_size_um", "energy_kev", "distance_mm", "sample_name", "notes", "angles"),
            }
        ),
        "flats": None if facts.flats is None else facts.flats.count,
        "darks": None if facts.darks is None else facts.darks.count,
        "flat_stack": facts.flats,
        "dark_stack": facts.darks,
    }
