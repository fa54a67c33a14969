"""Scans with what has been made of them, a page at a time, whatever their number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException
from sqlalchemy import ColumnElement, or_
from tiled.catalog import orm

from tomoservice.catalog import names
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.scan_conditions import beamline_of
from tomoservice.catalog.states import State
from tomoservice.errors import CatalogError
from tomoservice.service import catalogue
from tomoservice.service.answers import NOT_FOUND
from tomoservice.service.callers import Caller
from tomoservice.service.catalogue import Row, RunArrays, Standing, said
from tomoservice.service.models import (
    Acquisition,
    LatestReconstruction,
    ProgressAnswer,
    ReconstructionCounts,
    ReconstructionPage,
    ReconstructionSummary,
    ScanAnswer,
    SweepLink,
    percent_of,
    scan_values,
)
from tomoservice.sources.run_outline import RunOutliner

EXIT_STATUS = ("stop", "exit_status")
SUCCESS = "success"
NAMED = (("start", "sample_name"), ("start", "title"), ("start", "scan_id"))
"""What says how a run or its sample is called."""
BRIEF = 20
"""Reconstructions and sweeps that are listed with a scan."""
MOST_WORDS = 10
"""Words that are looked for: each goes through every start document."""
COUNTED = frozenset(State)


class ScanLists:
    """Lists scans and reconstructions as one caller may see them.

    Parameters
    ----------
    caller : Caller
        Who asks.
    outliner : RunOutliner
        Knows what runs look like.
    """

    def __init__(self, caller: Caller, outliner: RunOutliner) -> None:
        self._caller = caller
        self._outliner = outliner

    async def scans(
        self, conditions: Sequence[ColumnElement[bool]], order: Sequence[ColumnElement[Any]], page: slice
    ) -> tuple[list[ScanAnswer], int]:
        """Return a page of scans, and how many there are."""
        raw = await self._caller.container(names.RAW)
        if raw is None:
            return [], 0
        rows = await catalogue.select_rows(
            raw, *conditions, order=order, offset=page.start, limit=page.stop - page.start
        )
        arrays = await catalogue.arrays_of(raw, [row.id for row in rows])
        made = await self._made([row.path[-1] for row in rows])
        scans = [
            ScanAnswer(**self.values(row, arrays[row.id]), reconstructions=made[row.path[-1]]) for row in rows
        ]
        return scans, await catalogue.count_rows(raw, *conditions)

    async def scan(self, run_uid: str) -> tuple[Row, dict[str, Any]]:
        """Return a scan, and what a list says of it.

        Raises
        ------
        HTTPException
            404 if there is none, or none that may be seen.
        """
        raw = await self._caller.container(names.RAW)
        if raw is None or not names.is_key(run_uid):
            rows = []
        else:
            rows = await catalogue.select_rows(raw, orm.Node.key == run_uid, limit=1)
        if not rows:
            raise HTTPException(NOT_FOUND, detail=f"there is no run {run_uid}, or none that this key may see")
        arrays = await catalogue.arrays_of(raw, [rows[0].id])
        made = await self._made([run_uid])
        values = self.values(rows[0], arrays[rows[0].id])
        return rows[0], {**values, "reconstructions": made[run_uid]}

    def values(self, row: Row, arrays: RunArrays) -> dict[str, Any]:
        """Return what is said of a scan, but what has been made of it."""
        start = row.metadata.get("start") or {}
        outline = self._outliner.outline(start, arrays.streams, arrays.arrays)
        return scan_values(row.path[-1], row.metadata, outline)

    async def _made(self, run_uids: Sequence[str]) -> dict[str, ReconstructionCounts]:
        """Return how many reconstructions of runs there are in each state, and the newest of each."""
        processed = await self._caller.container(names.PROCESSED)
        if processed is None:
            return {uid: ReconstructionCounts() for uid in run_uids}
        found = await catalogue.standings(processed, run_uids)
        running = [each[-1].id for each in found.values() if each[-1].state == State.RUNNING]
        progress = await catalogue.children_of(processed, running, names.PROGRESS)
        return {uid: _counts(uid, found.get(uid, []), progress) for uid in run_uids}

    async def reconstructions(
        self, conditions: Sequence[ColumnElement[bool]], page: slice, run_uid: str | None = None
    ) -> ReconstructionPage:
        """Return a page of reconstructions, the newest request first; of one run if it is named."""
        processed = await self._caller.container(names.PROCESSED)
        if processed is None:
            return ReconstructionPage(reconstructions=[], total=0)
        within = list(conditions)
        if run_uid is not None:
            within.append(orm.Node.parent.in_(await catalogue.rooms_of(processed, [run_uid])))
        container = catalogue.reconstructions_of(processed)
        rows = await catalogue.select_rows(
            container, *within, offset=page.start, limit=page.stop - page.start
        )
        total = await catalogue.count_rows(container, *within)
        return ReconstructionPage(reconstructions=await self._summaries(processed, rows), total=total)

    async def _summaries(self, processed: Any, rows: Sequence[Row]) -> list[ReconstructionSummary]:
        progress = await catalogue.children_of(processed, [row.id for row in rows], names.PROGRESS)
        samples = await self.samples({row.path[0] for row in rows})
        return [
            ReconstructionSummary.of(record, progress.get(row.id), samples.get(row.path[0]))
            for row in rows
            if (record := _record(row)) is not None
        ]

    async def samples(self, run_uids: set[str]) -> dict[str, str | None]:
        """Return the names of the samples of runs, as far as start documents say them."""
        raw = await self._caller.container(names.RAW)
        rows = [] if raw is None else await catalogue.select_rows(raw, orm.Node.key.in_(run_uids))
        return {row.path[-1]: self._outliner.sample_name(row.metadata.get("start") or {}) for row in rows}

    async def sweeps(self, run_uid: str) -> list[SweepLink]:
        """Return the newest sweeps of a run."""
        processed = await self._caller.container(names.PROCESSED)
        if processed is None:
            return []
        here = orm.Node.parent.in_(await catalogue.rooms_of(processed, [run_uid]))
        rows = await catalogue.select_rows(catalogue.sweeps_of(processed), here, limit=BRIEF)
        return [_sweep(row) for row in rows]


def acquired(state: Acquisition) -> ColumnElement[bool]:
    """Return the condition that a run is in some state."""
    status = said(*EXIT_STATUS)
    match state:
        case Acquisition.RUNNING:
            return status.is_(None)
        case Acquisition.COMPLETE:
            return status == SUCCESS
        case Acquisition.FAILED:
            return status != SUCCESS


def called(text: str) -> list[ColumnElement[bool]]:
    """Return conditions: each word of a text begins the uid of a run or stands in its start document.

    A number is looked for in the names of sample and run only: times and uids are full of them.
    """
    return [
        or_(orm.Node.key.istartswith(word, autoescape=True), *_holding(word))
        for word in text.split()[:MOST_WORDS]
    ]


def _holding(word: str) -> list[ColumnElement[bool]]:
    places = NAMED if word.isdigit() else (("start",),)
    # SQLite keeps letters beyond ASCII as JSON writes them.
    spellings = {word, json.dumps(word)[1:-1]}
    return [said(*place).icontains(each, autoescape=True) for place in places for each in spellings]


def in_states(states: Sequence[State]) -> list[ColumnElement[bool]]:
    """Return the condition that a reconstruction is in one of some states; none without any."""
    return [said("status", "state").in_([state.value for state in states])] if states else []


def details_of(row: Row) -> dict[str, Any]:
    """Return what the documents of a run say."""
    start = row.metadata.get("start") or {}
    return {
        "plan_name": start.get("plan_name"),
        "beamline": beamline_of(start),
        "start": start,
        "stop": row.metadata.get("stop"),
    }


def _counts(
    run_uid: str, found: Sequence[Standing], progress: dict[int, dict[str, Any]]
) -> ReconstructionCounts:
    known = [each for each in found if each.state in COUNTED]
    counts = dict.fromkeys((each.state for each in known), 0)
    for each in known:
        counts[each.state] += 1
    if not known:
        return ReconstructionCounts()
    last = known[-1]
    return ReconstructionCounts(
        **counts,
        latest=LatestReconstruction(
            id=last.key,
            path=f"{names.PROCESSED}/{run_uid}/{last.key}",
            state=State(last.state),
            percent=percent_of(last.state, ProgressAnswer.of(progress.get(last.id))),
        ),
    )


def _record(row: Row) -> ReconstructionRecord | None:
    """Return the record of a reconstruction; None if it is spoilt, and must not hide the others."""
    try:
        return ReconstructionRecord.from_metadata((names.PROCESSED, *row.path), row.metadata)
    except CatalogError:
        return None


def _sweep(row: Row) -> SweepLink:
    said_of_it = row.metadata.get("sweep") or {}
    return SweepLink(
        id=row.path[-1],
        path="/".join((names.PROCESSED, *row.path)),
        parameter=str(said_of_it.get("parameter", "")),
        count=len(said_of_it.get("values", ())),
        z=int(said_of_it.get("z", 0)),
        requested_at=row.metadata.get("requested_at"),
    )
