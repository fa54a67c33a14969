"""Who sent a request, and what of the catalogue Tiled lets them see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from sqlalchemy import select
from tiled.catalog import orm
from tiled.server.authentication import (
    check_scopes,
    get_api_key,
    get_current_access_tags,
    get_current_principal,
    get_current_scopes,
    get_session_state,
)
from tiled.server.dependencies import get_entry, get_root_tree
from tiled.server.utils import filter_for_access

from tomoservice.catalog import names
from tomoservice.compute.orders import RunAddress
from tomoservice.service.answers import NOT_FOUND
from tomoservice.service.catalogue import fetch_among
from tomoservice.service.office import TheOffice

LOOK = ["read:metadata"]
"""Scopes of whoever wants to know what there is."""
READ = ["read:metadata", "read:data"]
"""Scopes of whoever wants to see it."""
COMPUTE = ["read:data", "write:data"]
"""Scopes of whoever wants something computed by a recipe of their own."""
CREATE = ["write:metadata", "create:node"]
"""Scopes of whoever wants to make a node."""
STEER = [*CREATE, "delete:node"]
"""Scopes of whoever wants to steer what is computed: wishes are nodes, and are deleted to take them back."""
DEEPEST = 3
"""Length of the path of a reconstruction."""
DELETE = ["write:metadata", "delete:node"]
"""Scopes of whoever wants to remove one."""


def needs(scopes: Sequence[str]) -> Any:
    """Return a dependency of a route: whoever calls it must have these scopes."""
    return Security(check_scopes, scopes=list(scopes))


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    principal: Any
    """Tiled's record of them; None without accounts."""
    access_tags: Any
    """What their key is limited to, if it is."""
    scopes: Any
    """What they may do in general."""
    session_state: Any
    """What Tiled keeps with their session."""
    root: Any
    """Root of the catalogue, unfiltered."""
    policy: Any
    """Who may see what; None where there are no accounts."""
    metrics: Any
    """Where Tiled notes how long it took."""
    authorization: str | None
    """Header by which they are known."""

    @property
    def name(self) -> str:
        """What they are called; empty where there are no accounts."""
        identities = getattr(self.principal, "identities", None) or ()
        return str(identities[0].id) if identities else ""

    async def node(self, *keys: str, scopes: Sequence[str] = LOOK) -> Any:
        """Return a node of the catalogue, filtered: what lies in it and may not be seen is not there.

        Raises
        ------
        HTTPException
            404 for what is not there or may not be seen, 403 for what may not be done with it.
        """
        if not all(names.is_key(key) for key in keys):
            # Another node's address, perhaps.
            raise HTTPException(NOT_FOUND, detail=f"there is no {'/'.join(keys)}")
        return await get_entry(
            "/".join(keys),
            list(scopes),
            self.principal,
            self.access_tags,
            self.scopes,
            self.root,
            self.session_state,
            self.metrics,
            None,
            self.policy,
        )

    async def seen(self, ids: set[int]) -> set[int]:
        """Return those of some nodes, by what the database calls them, that are there for them to see.

        Where everybody sees everything, that is all of them, whether they are there or not.
        """
        if self.policy is None:
            return ids
        root = await self.node()
        statement = root.search_deep(max_depth=DEEPEST)._scoped(select(orm.Node.id))
        return {row.id for row in await fetch_among(root, statement, orm.Node.id, ids)}

    async def allowing(self, *keys: str, scopes: Sequence[str]) -> Any:
        """Return a container of the catalogue, filtered: what may not be used so is not there."""
        return await filter_for_access(
            await self.node(*keys),
            self.policy,
            self.principal,
            self.access_tags,
            self.scopes,
            list(scopes),
            self.metrics,
        )

    async def container(self, *keys: str) -> Any | None:
        """Return a container of the catalogue, filtered, or None if there is none to be seen."""
        try:
            return await self.node(*keys)
        except HTTPException as error:
            if error.status_code != NOT_FOUND:
                raise
            return None


async def calling(  # noqa: PLR0913, PLR0917 - FastAPI hands over one thing per argument
    request: Request,
    principal: Annotated[Any, Depends(get_current_principal)],
    access_tags: Annotated[Any, Depends(get_current_access_tags)],
    scopes: Annotated[Any, Depends(get_current_scopes)],
    session_state: Annotated[Any, Depends(get_session_state)],
    api_key: Annotated[Any, Depends(get_api_key)],
    root: Annotated[Any, Depends(get_root_tree)],
) -> Caller:
    """Return who sent a request."""
    sent = request.headers.get("Authorization")
    return Caller(
        principal=principal,
        access_tags=access_tags,
        scopes=scopes,
        session_state=session_state,
        root=root,
        policy=getattr(request.app.state, "access_policy", None),
        metrics=request.state.metrics,
        # The key may have come by a cookie or in the address.
        authorization=sent if api_key is None else f"Apikey {api_key}",
    )


TheCaller = Annotated[Caller, Depends(calling)]


async def run_to_read(run_uid: str, caller: TheCaller, office: TheOffice) -> RunAddress:
    """Return what workers are told of a run, if whoever asks may read it."""
    entry = await caller.node(names.RAW, run_uid, scopes=READ)
    # Whoever may see these may see all that is made of it.
    return office.readers.run(run_uid, entry.access_tags)


TheRun = Annotated[RunAddress, Depends(run_to_read)]
