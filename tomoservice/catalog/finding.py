"""Finding runs and reconstructions by what a person types."""

from __future__ import annotations

from typing import Any

from tiled.queries import Like

from tomoservice.catalog import names
from tomoservice.catalog.batches import find_batch, find_batches
from tomoservice.catalog.nodes import find_in_state, find_run
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child, translated

LAST = "last"
"""Means the newest."""
MOST_LISTED = 5


def resolve_run(root: Any, reference: str) -> str:
    """Return the uid of the run that somebody means.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    reference : str
        Uid, its unique beginning, or ``last``.

    Raises
    ------
    NotFoundError
        No run fits, or more than one.
    """
    if names.is_key(reference):
        try:
            return str(find_run(root, reference).path_parts[-1])
        except NotFoundError:
            pass
    raw = child(root, names.RAW)
    with translated("searching for the run"):
        if reference == LAST and len(raw):
            return str(raw.keys().last())
        # Only what begins so is read: there may be thousands.
        found = list(raw.search(Like("start.uid", f"{reference}%"))) if names.is_key(reference) else []
    found = [uid for uid in found if uid.startswith(reference)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise NotFoundError(f"{len(found)} runs begin with {reference!r}: {_listed(found)}; give more of it")
    with translated("counting the runs"):
        count = len(raw)
        newest = raw.keys().last() if count else ""
    raise NotFoundError(
        f"no run's uid begins with {reference!r}; there are {count} runs"
        + (
            f", the newest is {newest}"
            if count
            else "; `tomoservice ingest FILE` publishes a scan file as one"
        )
    )


def find_jobs(root: Any, *states: State, run_uid: str | None = None, most: int | None = None) -> list[Any]:
    """Return the nodes of reconstructions, the newest request first.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    *states : State
        Only those in one of these states; all without any.
    run_uid : str, optional
        Only those of this run.
    most : int, optional
        No more than so many.
    """
    nodes = find_in_state(root, *(states or State))
    newest_first = [node for node in reversed(nodes) if run_uid in (None, node.path_parts[-2])]
    return newest_first[:most]


def resolve_job(root: Any, reference: str) -> Any:
    """Return the node of the reconstruction that somebody means.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    reference : str
        Path (``processed/run/id``), address in a browser, ``run/id``, or ``id``; of run and id a unique
        beginning is enough. ``last`` is the newest request.

    Raises
    ------
    NotFoundError
        None fits, or more than one.
    """
    wanted = reference.rstrip("/").rpartition(f"{names.PROCESSED}/")[2].lstrip("/").split("/")
    if len(wanted) == 2 and all(names.is_key(part) for part in wanted):
        try:
            return child(root, names.PROCESSED, *wanted)
        except NotFoundError:
            pass
    nodes = find_jobs(root)
    if reference == LAST and nodes:
        return nodes[0]
    whole = [node for node in nodes if node.path_parts[-1] == wanted[-1]]
    found = [node for node in whole or nodes if _begins(node, wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        paths = ["/".join(node.path_parts[-2:]) for node in found]
        raise NotFoundError(
            f"{reference!r} means {len(found)} reconstructions: {_listed(paths)}; give more of it"
        )
    raise NotFoundError(f"no reconstruction is called {reference!r}; `tomoservice jobs` lists them")


def resolve_batch(root: Any, reference: str) -> Any:
    """Return the node of the batch that somebody means.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    reference : str
        Path (``batches/id``), id or name, of which a unique beginning is enough. ``last`` is the newest.

    Raises
    ------
    NotFoundError
        None fits, or more than one.
    """
    wanted = reference.rstrip("/").rpartition(f"{names.BATCHES}/")[2].lstrip("/")
    if names.is_key(wanted):
        try:
            return find_batch(root, wanted)
        except NotFoundError:
            pass
    nodes = find_batches(root)
    if reference == LAST and nodes:
        return nodes[0]
    called = [(str(node.path_parts[-1]), str(node.metadata.get("name") or ""), node) for node in nodes]
    whole = [node for _, name, node in called if name == wanted]
    begun = [
        node for key, name, node in called if wanted and (key.startswith(wanted) or name.startswith(wanted))
    ]
    found = whole or begun
    if len(found) == 1:
        return found[0]
    if found:
        keys = [str(node.path_parts[-1]) for node in found]
        raise NotFoundError(f"{reference!r} means {len(found)} batches: {_listed(keys)}; give more of it")
    raise NotFoundError(f"no batch is called {reference!r}; `tomoservice batch list` lists them")


def _begins(node: Any, wanted: list[str]) -> bool:
    parts = node.path_parts[-len(wanted) :]
    return all(mine.startswith(begin) and begin for mine, begin in zip(parts, wanted, strict=False))


def _listed(items: list[str]) -> str:
    more = ", ..." if len(items) > MOST_LISTED else ""
    return ", ".join(items[:MOST_LISTED]) + more
