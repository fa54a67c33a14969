"""What has changed in the catalogue, found by asking its database now and then.

Tiled tells subscribers of one container at a time, and only what happens directly in it; a reconstruction
stands two levels below what a page wants to follow. A few narrow questions by primary key tell everything,
from any of several server processes, whoever wrote it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased
from tiled.catalog import orm

from tomoservice.catalog import names
from tomoservice.catalog.live_records import LiveState
from tomoservice.catalog.states import State
from tomoservice.service.catalogue import AT_ONCE, fetch, fetch_among, said

LOOK_BACK = 512
"""Numbers before the latest that are looked at again: transactions do not end in the order they begin in."""
MOST_RUNNING = 200
"""Runs without a stop document that are followed, the latest: others were killed long ago."""
MOST_TOLD = 5000
"""Nodes that are followed so that it can be told when they are deleted, the latest."""
UNFINISHED = tuple(state.value for state in (State.QUEUED, State.RUNNING, State.PAUSED))


class Subject(StrEnum):
    """What an event is about."""

    SCAN = "scan"
    RECONSTRUCTION = "reconstruction"
    SWEEP = "sweep"
    BATCH = "batch"
    RECIPE = "recipe"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Change:
    """A node that is new or other than before."""

    id: int
    """What the database calls it."""
    subject: Subject
    """What it is."""
    path: tuple[str, ...]
    """Where it is."""
    metadata: dict[str, Any]
    """What it says of itself now; empty if it is gone."""
    progress: dict[str, Any]
    """Of a reconstruction: how far it is."""
    gone: bool = False
    """Whether it has been deleted."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What has been told of a node, as far as it is needed when it is gone."""

    subject: Subject
    path: tuple[str, ...]


class Changes:
    """Finds changes; the first look finds none.

    A look that fails loses nothing: the next one tells what it would have told.

    Parameters
    ----------
    tree : CatalogContainerAdapter
        Root of the catalogue, unfiltered: who may see a change is asked when somebody is told.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._begun = False
        self._nodes = _Newest(select(orm.Node.id, orm.Node.key), orm.Node.id)
        self._revisions = _Newest(select(orm.Revision.id, orm.Revision.node_id), orm.Revision.id)
        self._touched: set[int] = set()
        """Nodes that are new or other, and have not been told yet."""
        self._scans: set[int] = set()
        """Runs that go on."""
        self._computed: set[int] = set()
        """Reconstructions that are being computed."""
        self._live: set[int] = set()
        """Live reconstructions that are not over."""
        self._known: OrderedDict[int, _Known] = OrderedDict()
        """What is there, as far as it has been told or is unfinished; the latest last."""
        self._controls: dict[int, int] = {}
        """Wishes about batches, and the batch of each: one that is withdrawn changes the batch."""
        self._marks: dict[int, Any] = {}

    async def look(self) -> list[Change]:
        """Return what has changed since the last look, each node once."""
        self._touched |= {row[0] for row in await self._nodes.look(self._tree)}
        self._touched |= {row[1] for row in await self._revisions.look(self._tree)}
        if not self._begun:
            await self._begin()
            self._begun = True
            self._touched = set()
            return []
        self._touched |= await self._ended_runs()
        self._touched |= await self._advanced()
        self._touched |= await self._withdrawn()
        changes = await self._changes(self._touched)
        gone = await self._gone({change.id: change.path for change in changes})
        self._touched = set()
        for change in changes:
            self._follow(change)
        return [*gone, *changes]

    async def _begin(self) -> None:
        """Find what is going on."""
        raw = orm.Node.parent.in_(self._ids_of(names.RAW))
        running = select(orm.Node.id).where(raw, said("stop", "exit_status").is_(None))
        running = running.order_by(orm.Node.id.desc()).limit(MOST_RUNNING)
        self._scans = {row.id for row in await fetch(self._tree, running)}
        self._known.clear()
        for key, subject in ((names.RECIPES, Subject.RECIPE), (names.BATCHES, Subject.BATCH)):
            latest = select(orm.Node.id, orm.Node.key).where(orm.Node.parent.in_(self._ids_of(key)))
            for row in await fetch(self._tree, latest.order_by(orm.Node.id.desc()).limit(AT_ONCE)):
                self._known[row.id] = _Known(subject, (key, row.key))
        await self._begin_unfinished()
        live = select(orm.Node.id, orm.Node.key, said("state").label("state"))
        for row in await fetch(self._tree, live.where(orm.Node.parent.in_(self._ids_of(names.LIVE)))):
            self._known[row.id] = _Known(Subject.LIVE, (names.LIVE, row.key))
            if row.state not in LIVE_OVER:
                self._live.add(row.id)
        batches = select(orm.Node.id).where(orm.Node.parent.in_(self._ids_of(names.BATCHES)))
        wishes = select(orm.Node.id, orm.Node.parent).where(
            orm.Node.parent.in_(batches), orm.Node.key.startswith(names.CONTROL_PREFIX)
        )
        self._controls = {row.id: row.parent for row in await fetch(self._tree, wishes)}

    async def _begin_unfinished(self) -> None:
        room = aliased(orm.Node)
        state, sweep = said("status", "state"), said("sweep", "parameter")
        working = (
            select(
                orm.Node.id, orm.Node.key, room.key.label("run"), state.label("state"), sweep.label("sweep")
            )
            .join(room, room.id == orm.Node.parent)
            .where(room.parent.in_(self._ids_of(names.PROCESSED)), state.in_(UNFINISHED))
            .order_by(orm.Node.id.desc())
            .limit(MOST_TOLD)
        )
        rows = await fetch(self._tree, working)
        self._computed = {row.id for row in rows if row.state == State.RUNNING}
        for row in reversed(rows):
            subject = Subject.RECONSTRUCTION if row.sweep is None else Subject.SWEEP
            self._known[row.id] = _Known(subject, (names.PROCESSED, row.run, row.key))
        self._forget_oldest()

    def _ids_of(self, key: str) -> Select[Any]:
        return select(orm.Node.id).where(orm.Node.parent == self._tree.node.id, orm.Node.key == key)

    async def _there(self, ids: Collection[int]) -> set[int]:
        """Return those of some nodes that are there."""
        return {row.id for row in await fetch_among(self._tree, select(orm.Node.id), orm.Node.id, ids)}

    async def _ended_runs(self) -> set[int]:
        """Return the runs that have got their stop document."""
        ended = select(orm.Node.id).where(said("stop", "exit_status").is_not(None))
        return {row.id for row in await fetch_among(self._tree, ended, orm.Node.id, self._scans)}

    async def _advanced(self) -> set[int]:
        """Return the reconstructions whose progress, and the live ones whose update is other than before."""
        asked = select(orm.Node.parent, said("time").label("mark")).where(orm.Node.key == names.PROGRESS)
        marks = {
            row.parent: row.mark
            for row in await fetch_among(self._tree, asked, orm.Node.parent, self._computed)
        }
        updates = select(orm.Node.id, said("update").label("mark"))
        marks |= {row.id: row.mark for row in await fetch_among(self._tree, updates, orm.Node.id, self._live)}
        advanced = {number for number, mark in marks.items() if self._marks.get(number) != mark}
        self._marks = marks
        return advanced

    async def _withdrawn(self) -> set[int]:
        """Return the batches about which a wish has been withdrawn."""
        withdrawn = set(self._controls) - await self._there(self._controls)
        return {self._controls.pop(number) for number in withdrawn}

    async def _gone(self, told: Mapping[int, tuple[str, ...]]) -> list[Change]:
        """Return what was known and is not there any more."""
        there = await self._there(self._known)
        # SQLite gives the number of a node that was deleted to another one.
        lost = [
            number
            for number, known in self._known.items()
            if number not in there or told.get(number, known.path) != known.path
        ]
        gone = []
        for number in lost:
            known = self._known.pop(number)
            self._computed.discard(number)
            self._scans.discard(number)
            self._live.discard(number)
            gone.append(Change(number, known.subject, known.path, {}, {}, gone=True))
        return gone

    def _follow(self, change: Change) -> None:
        self._known[change.id] = _Known(change.subject, change.path)
        self._known.move_to_end(change.id)
        self._forget_oldest()
        if change.subject is Subject.SCAN:
            running = not change.metadata.get("stop")
            (self._scans.add if running else self._scans.discard)(change.id)
        if change.subject is Subject.LIVE:
            over = change.metadata.get("state") in LIVE_OVER
            (self._live.discard if over else self._live.add)(change.id)
        if change.subject is Subject.RECONSTRUCTION:
            running = mapping(change.metadata.get("status")).get("state") == State.RUNNING
            (self._computed.add if running else self._computed.discard)(change.id)

    def _forget_oldest(self) -> None:
        while len(self._known) > MOST_TOLD:
            self._known.popitem(last=False)

    async def _changes(self, ids: Collection[int]) -> list[Change]:
        """Return what some nodes, or what they belong to, are now."""
        subjects = await self._subjects(ids)
        asked = select(orm.Node.id, orm.Node.metadata_.label("content"))
        told = select(orm.Node.parent, orm.Node.metadata_.label("content")).where(
            orm.Node.key == names.PROGRESS
        )
        rows = await fetch_among(self._tree, asked, orm.Node.id, subjects)
        found = await fetch_among(self._tree, told, orm.Node.parent, subjects)
        progress = {row.parent: row.content for row in found}
        return [
            Change(
                row.id,
                _subject_of(subjects[row.id], row.content),
                subjects[row.id],
                row.content,
                progress.get(row.id, {}),
            )
            for row in sorted(rows, key=lambda row: row.id)
        ]

    async def _subjects(self, ids: Collection[int]) -> dict[int, tuple[str, ...]]:
        """Return the paths of what some nodes belong to, by what the database calls these."""
        asked = (
            select(orm.NodesClosure.descendant, orm.Node.id, orm.Node.key)
            .join(orm.Node, orm.Node.id == orm.NodesClosure.ancestor)
            .where(orm.Node.id != self._tree.node.id)
            .order_by(orm.NodesClosure.descendant, orm.NodesClosure.depth.desc())
        )
        lines: dict[int, list[tuple[int, str]]] = {}
        for row in await fetch_among(self._tree, asked, orm.NodesClosure.descendant, ids):
            lines.setdefault(row.descendant, []).append((row.id, row.key))
        found: dict[int, tuple[str, ...]] = {}
        for number, line in lines.items():
            depth = DEPTHS.get(line[0][1], 0)
            # Frames of a run that arrive say nothing that a list shows.
            if depth and len(line) >= depth and (line[0][1] != names.RAW or len(line) == depth):
                subject = line[depth - 1][0]
                found[subject] = tuple(key for _, key in line[:depth])
                if line[0][1] == names.BATCHES and line[-1][1].startswith(names.CONTROL_PREFIX):
                    self._controls[number] = subject
        return found


DEPTHS = {names.RAW: 2, names.RECIPES: 2, names.PROCESSED: 3, names.BATCHES: 2, names.LIVE: 2}
"""Length of the path of what an event is about, by its beginning."""
SUBJECTS = {
    names.RAW: Subject.SCAN,
    names.RECIPES: Subject.RECIPE,
    names.BATCHES: Subject.BATCH,
    names.LIVE: Subject.LIVE,
}
LIVE_OVER = tuple(state.value for state in LiveState if state.is_over)


def _subject_of(path: Sequence[str], metadata: dict[str, Any]) -> Subject:
    other = Subject.SWEEP if "sweep" in metadata else Subject.RECONSTRUCTION
    return SUBJECTS.get(path[0], other)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and nothing of anything else: metadata are whatever somebody wrote."""
    return value if isinstance(value, Mapping) else {}


class _Newest:
    """Finds the rows that a table has got since the last look.

    SQLite gives the number of a row that was deleted to another one, so a row is told by all that is asked of
    it, and numbers that were seen are looked at again.
    """

    def __init__(self, rows: Select[Any], number: Any) -> None:
        self._rows = rows
        self._number = number
        self._seen: set[tuple[Any, ...]] = set()
        self._last: int | None = None

    async def look(self, tree: Any) -> list[tuple[Any, ...]]:
        last = (await fetch(tree, select(func.max(self._number))))[0][0] or 0
        # However many have come since.
        begin = min(last, last if self._last is None else self._last) - LOOK_BACK
        there = {tuple(row) for row in await fetch(tree, self._rows.where(self._number > begin))}
        new = set() if self._last is None else there - self._seen
        self._seen, self._last = there, last
        return sorted(new)
