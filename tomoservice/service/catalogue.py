"""Questions to the catalogue that one request to the database answers, within what a caller may see.

Tiled's own routes give one node, or a page of one container, with all metadata. Lists of thousands of scans
with their reconstructions want counts and a few values of each, so they are asked for in the database itself.
Every function takes a container that `Caller` has filtered, and goes through its access filters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import aliased
from tiled.catalog import orm
from tiled.queries import SpecsQuery
from tiled.structures.core import StructureFamily

from tomoservice.catalog import names
from tomoservice.sources.run_outline import ArrayShape

MOST = 200
"""Rows of a page, at most."""
AT_ONCE = 1000
"""Values that one question names: PostgreSQL takes 32767, and less is as quick."""


@dataclass(frozen=True, slots=True)
class Row:
    """A node, as the database has it."""

    id: int
    """What the database calls it."""
    parent: int
    """What it calls the container that it is in."""
    path: tuple[str, ...]
    """Keys from the container that was searched."""
    metadata: dict[str, Any]
    """What it says of itself."""


def said(*keys: str) -> ColumnElement[str]:
    """Return what a node's metadata say under nested keys, as text."""
    value: ColumnElement[str] = orm.Node.metadata_[keys].as_string()
    return value


def newest_first() -> ColumnElement[Any]:
    """Return the order in which nodes were made, the latest first."""
    column: ColumnElement[Any] = orm.Node.id.desc()
    return column


async def select_rows(
    container: Any,
    *conditions: ColumnElement[bool],
    order: Sequence[ColumnElement[Any]] = (),
    limit: int | None = None,
    offset: int = 0,
) -> list[Row]:
    """Return nodes of a container, or below it if it was made deep, and no more of them than `limit`."""
    statement = container._scoped(select(orm.Node.id)).where(*conditions)
    statement = statement.order_by(*(order or (newest_first(),))).limit(limit).offset(offset)
    # What nodes say is read of the page alone: a database sorts all that it reads.
    ids = [row.id for row in await fetch(container, statement)]
    content = orm.Node.metadata_.label("content")
    columns = select(orm.Node.id, orm.Node.parent, orm.Node.key, content)
    found = {row.id: row for row in await fetch_among(container, columns, orm.Node.id, ids)}
    paths = await _paths(container, ids) if container.deep else {}
    return [
        # One that is deleted meanwhile is missing.
        Row(number, row.parent, paths.get(number, (row.key,)), row.content)
        for number in ids
        if (row := found.get(number)) is not None
    ]


async def _paths(container: Any, ids: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the keys from a container to nodes somewhere in it.

    Tiled's own `relative_keys_for_ids` goes through everything that is in the container.
    """
    statement = (
        select(orm.NodesClosure.descendant, orm.Node.id, orm.Node.key)
        .join(orm.Node, orm.Node.id == orm.NodesClosure.ancestor)
        .order_by(orm.NodesClosure.descendant, orm.NodesClosure.depth.desc())
    )
    found: dict[int, tuple[str, ...]] = {}
    for row in await fetch_among(container, statement, orm.NodesClosure.descendant, ids):
        above = found.get(row.descendant, ())
        found[row.descendant] = () if row.id == container.node.id else (*above, row.key)
    return found


async def count_rows(container: Any, *conditions: ColumnElement[bool]) -> int:
    """Return how many nodes there are."""
    statement = container._scoped(select(func.count()).select_from(orm.Node)).where(*conditions)
    return int((await fetch(container, statement))[0][0])


async def fetch(container: Any, statement: Select[Any]) -> Sequence[Any]:
    """Return what a statement gives."""
    async with container.context.session() as session:
        rows: Sequence[Any] = (await session.execute(statement)).all()
    return rows


async def fetch_among(
    container: Any, statement: Select[Any], column: ColumnElement[Any], ids: Collection[Any]
) -> list[Any]:
    """Return what a statement gives where a column has one of some values, however many these are."""
    wanted = sorted(ids)
    found: list[Any] = []
    for start in range(0, len(wanted), AT_ONCE):
        found.extend(await fetch(container, statement.where(column.in_(wanted[start : start + AT_ONCE]))))
    return found


async def tags_of_children(container: Any, keys: Sequence[str]) -> dict[str, set[str]]:
    """Return the access tags of those of some children of a container that are there, by key."""
    if not hasattr(container, "context"):
        # What Tiled puts in the place of a container of which nothing may be seen.
        return {}
    # By other names than those in the access filters, which ask for themselves.
    carried, tag = aliased(orm.NodeAccessTagAssociation), aliased(orm.AccessTag)
    statement = (
        container._scoped(select(orm.Node.key, tag.name.label("tag")))
        .outerjoin(carried, carried.node_id == orm.Node.id)
        .outerjoin(tag, tag.id == carried.tag_id)
    )
    found: dict[str, set[str]] = {}
    for row in await fetch_among(container, statement, orm.Node.key, keys):
        known = found.setdefault(row.key, set())
        if row.tag is not None:
            known.add(row.tag)
    return found


def reconstructions_of(processed: Any) -> Any:
    """Return the reconstructions of all runs, as a container to be searched."""
    return processed.search_deep(max_depth=2).search(SpecsQuery([names.RECONSTRUCTION_SPEC], []))


def sweeps_of(processed: Any) -> Any:
    """Return the sweeps of all runs, as a container to be searched."""
    return processed.search_deep(max_depth=2).search(SpecsQuery([names.SWEEP_SPEC], []))


async def rooms_of(processed: Any, run_uids: Sequence[str]) -> dict[int, str]:
    """Return the runs of containers with reconstructions, by what the database calls these."""
    keys = [uid for uid in run_uids if names.is_key(uid)]
    statement = processed._scoped(select(orm.Node.id, orm.Node.key)).where(orm.Node.key.in_(keys))
    return {row.id: row.key for row in await fetch(processed, statement)}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a reconstruction stands."""

    id: int
    """What the database calls it."""
    key: str
    """Its key."""
    state: str
    """Its state."""


async def standings(processed: Any, run_uids: Sequence[str]) -> dict[str, list[Standing]]:
    """Return where the reconstructions of runs stand, the oldest first, by uid."""
    rooms = await rooms_of(processed, run_uids)
    found: dict[str, list[Standing]] = {}
    if not rooms:
        return found
    columns = select(orm.Node.id, orm.Node.parent, orm.Node.key, said("status", "state").label("state"))
    statement = reconstructions_of(processed)._scoped(columns).where(orm.Node.parent.in_(rooms))
    for row in await fetch(processed, statement.order_by(orm.Node.id)):
        found.setdefault(rooms[row.parent], []).append(Standing(row.id, row.key, str(row.state)))
    return found


async def children_of(processed: Any, ids: Sequence[int], key: str) -> dict[int, dict[str, Any]]:
    """Return the metadata of the child with a key of each of some reconstructions, by these."""
    if not ids:
        return {}
    statement = processed.search_deep(max_depth=3)._scoped(
        select(orm.Node.parent, orm.Node.metadata_.label("content"))
    )
    found = await fetch(processed, statement.where(orm.Node.key == key, orm.Node.parent.in_(ids)))
    return {row.parent: row.content for row in found}


@dataclass(frozen=True, slots=True)
class RunArrays:
    """What a run holds."""

    streams: tuple[str, ...]
    """Names of its streams."""
    arrays: dict[str, dict[str, ArrayShape]]
    """Its arrays, by stream and data key."""


async def arrays_of(raw: Any, ids: Sequence[int]) -> dict[int, RunArrays]:
    """Return what runs hold, by what the database calls these; no array is opened."""
    found = {number: RunArrays((), {}) for number in ids}
    if not ids:
        return found
    streams = raw.search_deep(max_depth=2)._scoped(select(orm.Node.id, orm.Node.parent, orm.Node.key))
    places: dict[int, tuple[int, str]] = {}
    for row in await fetch(raw, streams.where(orm.Node.parent.in_(ids)).order_by(orm.Node.id)):
        places[row.id] = (row.parent, row.key)
        before = found[row.parent]
        found[row.parent] = RunArrays((*before.streams, row.key), before.arrays)
    columns = (
        select(orm.Node.parent, orm.Node.key, orm.Structure.structure)
        .select_from(orm.Node)
        .join(orm.DataSource, orm.DataSource.node_id == orm.Node.id)
        .join(orm.Structure, orm.Structure.id == orm.DataSource.structure_id)
    )
    arrays = (
        raw.search_deep(max_depth=3)
        ._scoped(columns)
        .where(orm.Node.parent.in_(places), orm.Node.structure_family == StructureFamily.array)
    )
    for row in await fetch(raw, arrays):
        run, stream = places[row.parent]
        structure = row.structure
        shape = ArrayShape(tuple(structure["shape"]), int(structure["data_type"].get("itemsize", 0)))
        found[run].arrays.setdefault(stream, {})[row.key] = shape
    return found
