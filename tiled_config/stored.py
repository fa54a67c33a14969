"""What a node is while a change of it is being validated."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from tiled.catalog import orm


async def stored_metadata(entry: Any) -> dict[str, Any]:
    """Return a node's metadata as the catalogue holds them.

    Tiled 0.2.20 merges a merge patch into the very object that the entry shows as its metadata, so that they
    seem never to change.

    Parameters
    ----------
    entry : CatalogNodeAdapter
        The node.
    """
    statement = select(orm.Node.metadata_).where(orm.Node.id == entry.node.id)
    async with entry.context.session() as database:
        found = (await database.execute(statement)).scalar_one_or_none()
    return dict(found or {})
