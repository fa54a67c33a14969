"""Batches a page at a time, with how many of their items are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from tiled.catalog import orm
from tiled.queries import SpecsQuery

from tomoservice.catalog import names
from tomoservice.catalog.controls import Verb, verbs_of
from tomoservice.catalog.states import State
from tomoservice.service import catalogue
from tomoservice.service.callers import Caller
from tomoservice.service.catalogue import Row, fetch, fetch_among, said

KNOWN = frozenset(State)


class BatchLists:
    """Lists batches as one caller may see them.

    Parameters
    ----------
    caller : Caller
        Who asks.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def page(self, page: slice) -> tuple[list[Row], int]:
        """Return a page of batches, the newest first, and how many there are."""
        folder = await self._folder()
        if folder is None:
            return [], 0
        rows = await catalogue.select_rows(folder, offset=page.start, limit=page.stop - page.start)
        return rows, await catalogue.count_rows(folder)

    async def _folder(self) -> Any | None:
        folder = await self._caller.container(names.BATCHES)
        return None if folder is None else folder.search(SpecsQuery([names.BATCH_SPEC], []))

    async def standings(self, batch_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return how many items of batches there are in each state.

        An item whose state is none has failed, as in the batch itself.
        """
        processed = await self._caller.container(names.PROCESSED)
        if processed is None or not batch_ids:
            return {}
        batch, state = said("batch", "id"), said("status", "state")
        statement = catalogue.reconstructions_of(processed)._scoped(
            select(batch.label("batch"), state.label("state"), func.count().label("count"))
        )
        # What only says that it belongs to a batch has another key.
        item = orm.Node.key == batch + "-" + said("batch", "number")
        found: dict[str, Counter[str]] = {}
        for row in await fetch(processed, statement.where(batch.in_(batch_ids), item).group_by(batch, state)):
            known = row.state if row.state in KNOWN else State.FAILED.value
            found.setdefault(row.batch, Counter())[known] += row.count
        return {key: dict(counts) for key, counts in found.items()}

    async def additions(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return what was added to batches, by what the database calls these: metadata by key."""
        folder = await self._caller.container(names.BATCHES)
        if folder is None:
            return {}
        columns = select(orm.Node.parent, orm.Node.key, orm.Node.metadata_.label("content"))
        added = folder.search_deep(max_depth=2).search(SpecsQuery([names.ADDITION_SPEC], []))
        found: dict[int, dict[str, Any]] = {}
        for row in await fetch_among(folder, added._scoped(columns), orm.Node.parent, ids):
            found.setdefault(row.parent, {})[row.key] = row.content
        return found

    async def verbs(self, ids: Sequence[int]) -> dict[int, frozenset[Verb]]:
        """Return what is wanted of batches, by what the database calls these."""
        folder = await self._caller.container(names.BATCHES)
        if folder is None:
            return {}
        columns = select(orm.Node.parent, orm.Node.key).where(
            orm.Node.key.startswith(names.CONTROL_PREFIX, autoescape=True)
        )
        wishes = folder.search_deep(max_depth=2)._scoped(columns)
        keys: dict[int, list[str]] = {}
        for row in await fetch_among(folder, wishes, orm.Node.parent, ids):
            keys.setdefault(row.parent, []).append(row.key)
        return {number: verbs_of(found) for number, found in keys.items()}
