"""Where the node is that is being validated: Tiled 0.2.20 tells validators nothing of one that is created."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from tiled_config.refusals import refuse
from tomoservice.catalog import names
from tomoservice.recipe.problems import shown

RUN = "raw_uid"
"""The key by which a search finds all reconstructions of a run."""

_request: ContextVar[Mapping[str, Any] | None] = ContextVar("request", default=None)


class KnownPlace:
    """Middleware that lets validators know the request that they are called for.

    Parameters
    ----------
    app : ASGI application
        What answers the requests.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        token = _request.set(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            _request.reset(token)


def set_run(spec: str, metadata: dict[str, Any], entry: Any, before: Mapping[str, Any]) -> None:
    """Say in the metadata of a node below `/processed/{run_uid}` which run that is.

    Parameters
    ----------
    spec : str
        What the node is.
    metadata : dict
        All metadata that it is going to have; the uid is put there.
    entry : CatalogNodeAdapter or None
        The node as it is; None while it is being created.
    before : mapping
        What it says until now. A wrong uid that has got there in another way keeps nobody from changing
        something else: it is put right.

    Raises
    ------
    HTTPException
        Somebody says that it is another run.
    """
    run_uid = _run_of(entry)
    if run_uid is None:
        return
    said = metadata.get(RUN)
    if said not in (None, run_uid, before.get(RUN)):
        refuse(spec, RUN, f"got {shown(said)}, wants {run_uid!r}, the run below which it is, or nothing")
    metadata[RUN] = run_uid


def _run_of(entry: Any) -> str | None:
    """Return the uid of the run whose reconstructions a node is one of; None of a node elsewhere."""
    request = _request.get() or {}
    # What the router has found; a request to create something has the path of its parent.
    path = request.get("path_params", {}).get("path", "")
    keys = [key for key in path.split("/") if key]
    parent = keys if entry is None else keys[:-1]
    return parent[1] if len(parent) == 2 and parent[0] == names.PROCESSED else None
