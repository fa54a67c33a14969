"""Catalogues in memory, for what asks a database and needs no server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from tiled.catalog import from_uri, orm
from tiled.structures.core import Spec, StructureFamily

from tomoservice.service.callers import Caller

CONTAINER = StructureFamily.container


class Catalogue:
    """A catalogue without a server."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    async def make(
        self, *path: str, spec: str | None = None, tags: Sequence[str] = (), **metadata: Any
    ) -> Any:
        parent = await self.find(*path[:-1])
        specs = [] if spec is None else [Spec(spec, version="1")]
        return await parent.create_node(
            CONTAINER, metadata, key=path[-1], specs=specs, access_tags=list(tags)
        )

    async def define_tags(self, *tags: str) -> None:
        async with self.tree.context.session() as session:
            session.add_all(orm.AccessTag(name=tag) for tag in tags)
            await session.commit()

    async def copy(self, *path: str, times: int) -> None:
        """Put copies beside a node, `{key}-1` and so on."""
        node = (await self.find(*path)).node
        statement = (
            "INSERT INTO nodes (parent, key, structure_family, metadata, specs) "
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :times) "
            "SELECT parent, key || '-' || i, structure_family, metadata, specs FROM nodes, n WHERE id = :id"
        )
        async with self.tree.context.engine.begin() as connection:
            await connection.execute(text(statement), {"times": times, "id": node.id})

    async def find(self, *path: str) -> Any:
        return await self.tree.lookup_adapter(list(path)) if path else self.tree

    async def change(self, *path: str, **metadata: Any) -> None:
        node = await self.find(*path)
        await node.replace_metadata({**node.metadata(), **metadata})

    async def remove(self, *path: str) -> None:
        await (await self.find(*path)).delete(recursive=True)


@asynccontextmanager
async def catalogue() -> AsyncIterator[Catalogue]:
    tree = from_uri("sqlite:///:memory:")
    await tree.startup()
    try:
        made = Catalogue(tree)
        for key in ("raw", "processed", "recipes", "batches"):
            await made.make(key)
        await made.make("processed", "run")
        yield made
    finally:
        await tree.shutdown()


def within(work: Callable[[Catalogue], Awaitable[None]]) -> None:
    async def run() -> None:
        async with catalogue() as made:
            await work(made)

    asyncio.run(run())


def anybody(made: Catalogue) -> Caller:
    """Return whoever asks where there are no accounts."""
    return Caller(
        principal=None,
        access_tags=None,
        scopes=set(),
        session_state={},
        root=made.tree,
        policy=None,
        metrics=defaultdict(lambda: defaultdict(float)),
        authorization=None,
    )
