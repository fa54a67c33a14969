"""Creating and finding reconstruction nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tiled.client.container import Container, DeepSearchResults
from tiled.queries import Comparison, In, KeyPresent, KeysFilter
from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FollowUpState, State
from tomoservice.catalog.transport import ConflictError, NotAllowedError, NotFoundError, child, translated
from tomoservice.errors import CatalogError
from tomoservice.recipe import Recipe, Sweep


def ensure_container(
    parent: Any, key: str, *, metadata: Mapping[str, Any] | None = None, specs: tuple[Any, ...] = ()
) -> Any:
    """Return the child container `key`, created if it is not there."""
    try:
        return child(parent, key)
    except NotFoundError:
        return create_container(parent, key, metadata=metadata, specs=specs, may_exist=True)


def create_container(
    parent: Any,
    key: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    specs: tuple[Any, ...] = (),
    may_exist: bool = False,
    access_tags: Sequence[str] | None = None,
) -> Any:
    """Create a child container; creation is atomic, so of several callers one succeeds.

    Who may read and write it is said by `access_tags`, by default those of its parent.

    Raises
    ------
    ConflictError
        It exists, unless that `may_exist`: then what is there is returned.
    """
    path = "/".join((*parent.path_parts, key))
    try:
        with translated(f"creating {path}"):
            return parent.create_container(
                key,
                metadata=dict(metadata or {}),
                specs=list(specs),
                access_tags=tags_of(parent) if access_tags is None else list(access_tags),
            )
    except ConflictError:
        if not may_exist:
            raise
        return child(parent, key)


def find_run(root: Any, run_uid: str) -> Any:
    """Return the raw run in Tiled.

    Raises
    ------
    NotFoundError
        It is not there.
    """
    return child(root, names.RAW, run_uid)


def ensure_room(root: Any, run_uid: str) -> Any:
    """Return the container of a run's reconstructions; if it is not there, create it with the run's tags."""
    try:
        return child(root, names.PROCESSED, run_uid)
    except NotFoundError:
        pass
    try:
        tags = tags_of(find_run(root, run_uid))
    except NotFoundError:
        # It may come later.
        tags = None
    processed = ensure_container(root, names.PROCESSED)
    metadata = {"raw_uid": run_uid}
    try:
        return create_container(processed, run_uid, metadata=metadata, may_exist=True, access_tags=tags)
    except NotAllowedError:
        # Who may not write there itself may still ask for room beside a run of their own.
        with translated(f"making room for the reconstructions of {run_uid}"):
            address = f"{root.context.api_uri}tomo/processed/{run_uid}"
            root.context.http_client.post(address).raise_for_status()
        return child(processed, run_uid)


def request_reconstruction(  # noqa: PLR0913 - of what by what, and four ways to ask for it
    root: Any,
    run_uid: str,
    recipe: Recipe,
    *,
    reconstruction_id: str | None = None,
    requested_by: str = "",
    priority: JobPriority = JobPriority.NORMAL,
    virtual: bool = False,
) -> tuple[Any, bool]:
    """Create a reconstruction of a run: queued, or virtual.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    run_uid : str
        Run to reconstruct.
    recipe : Recipe
        What to do.
    reconstruction_id : str, optional
        Key of the node; a node that has it already is returned as it is.
    requested_by : str
        Who asks.
    priority : JobPriority
        How urgent it is; of a virtual one, how urgent it will be once it is queued.
    virtual : bool
        Whether only what somebody reads of it is computed, until it is queued (`steering.requeue`).

    Returns
    -------
    node : tiled Container
        The reconstruction.
    created : bool
        False if it was there before.
    """
    metadata = reconstruction_metadata(run_uid, recipe, requested_by, priority, virtual=virtual)
    return create_reconstruction(root, run_uid, metadata, reconstruction_id)


def create_reconstruction(
    root: Any, run_uid: str, metadata: Mapping[str, Any], reconstruction_id: str | None = None
) -> tuple[Any, bool]:
    """Create a reconstruction of a run with what `reconstruction_metadata` returns.

    Returns
    -------
    node : tiled Container
        The reconstruction.
    created : bool
        False if there was one with this key before, which is returned as it is.
    """
    run = ensure_room(root, run_uid)
    key = reconstruction_id or names.new_reconstruction_id()
    try:
        return create_container(run, key, metadata=metadata, specs=(reconstruction_spec(),)), True
    except ConflictError:
        return child(run, key), False


def reconstruction_metadata(
    run_uid: str,
    recipe: Recipe,
    requested_by: str,
    priority: JobPriority,
    *,
    virtual: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a reconstruction that is asked for now: queued, or virtual."""
    now = time.time()
    state = State.VIRTUAL if virtual else State.QUEUED
    return {
        "recipe": recipe.dump(),
        "recipe_hash": recipe.hash,
        "recipe_name": recipe.name,
        "raw_uid": run_uid,
        "raw_path": f"{names.RAW}/{run_uid}",
        "requested_by": requested_by,
        "requested_at": now,
        "priority": priority.value,
        "status": {"state": state.value, "attempt": 0, "message": "", "time": now},
    }


def request_sweep(
    root: Any, run_uid: str, sweep: Sweep, *, sweep_id: str | None = None, requested_by: str = ""
) -> tuple[Any, bool]:
    """Create a sweep of a run; its pictures are made when somebody looks at them.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    run_uid : str
        Run to reconstruct.
    sweep : Sweep
        One slice, by which recipes.
    sweep_id : str, optional
        Key of the node; a node that has it already is returned as it is.
    requested_by : str
        Who asks.

    Returns
    -------
    node : tiled Container
        The sweep.
    created : bool
        False if it was there before.
    """
    run = ensure_room(root, run_uid)
    key = sweep_id or f"sweep-{names.new_reconstruction_id()}"
    now = time.time()
    metadata = {
        "sweep": sweep.model_dump(mode="json"),
        "raw_uid": run_uid,
        "requested_by": requested_by,
        "requested_at": now,
        "status": {"state": State.VIRTUAL.value, "message": "", "time": now},
    }
    spec = Spec(names.SWEEP_SPEC, version=names.SWEEP_VERSION)
    try:
        return create_container(run, key, metadata=metadata, specs=(spec,)), True
    except ConflictError:
        return child(run, key), False


def is_sweep(node: Any) -> bool:
    """Tell whether a node carries a version of the spec of sweeps that this package knows."""
    return any(
        spec.name == names.SWEEP_SPEC and spec.version in (None, names.SWEEP_VERSION) for spec in node.specs
    )


def reconstruction_spec() -> Any:
    """Return the spec that marks a reconstruction node."""
    return Spec(names.RECONSTRUCTION_SPEC, version=names.RECONSTRUCTION_VERSION)


def is_reconstruction(node: Any) -> bool:
    """Tell whether a node carries a version of our spec that this package knows."""
    return any(
        spec.name == names.RECONSTRUCTION_SPEC and spec.version in (None, names.RECONSTRUCTION_VERSION)
        for spec in node.specs
    )


def find_in_state(
    root: Any,
    *states: State,
    since: float = 0.0,
    priorities: Sequence[JobPriority] = (),
    keys: Sequence[str] = (),
) -> list[Any]:
    """Return the nodes below the runs that say that they are in one of some states, oldest request first.

    With `since` (seconds since 1970), only those that say that they entered it later; with `priorities`, only
    those that were asked for with one of these; with `keys`, only those that are called so.

    They need not be sound: whoever dropped the spec or spoilt the recipe shall hear of it, so
    `check_reconstruction` comes after the claim.
    """
    queries = [In("status.state", [state.value for state in states])]
    if since > 0:
        queries.append(Comparison("gt", "status.time", since))
    if priorities:
        queries.append(In("priority", [priority.value for priority in priorities]))
    if keys:
        queries.append(KeysFilter(list(keys)))
    return sorted(_search(root, *queries), key=asked_at)


def find_not_followed_up(root: Any) -> list[Any]:
    """Return the nodes below the runs that are done and say that something is still to be made of them."""
    done = In("status.state", [State.DONE.value])
    found = {}
    for key in (names.QUALITY, names.PYRAMID):
        for node in _search(root, In(f"{key}.state", [FollowUpState.PENDING.value]), done):
            found[tuple(node.path_parts)] = node
    return list(found.values())


def search_processed(root: Any, *queries: Any, parts: int) -> list[tuple[tuple[str, ...], Any]]:
    """Return the nodes at one depth below the container of what is processed that fit all queries.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    *queries : tiled query
        At least one.
    parts : int
        Length of a path from there: 2 for reconstructions, 3 for their children.

    Returns
    -------
    list of (path, node)
        Paths are from the container of what is processed.

    Raises
    ------
    NotFoundError
        Nothing has ever been processed.
    """
    # As the client of the container makes them, which would be asked for at each of several looks a second.
    found = DeepSearchResults(
        context=root.context,
        link=f"{root.context.api_uri}search-deep/{names.PROCESSED}",
        structure_clients=root.structure_clients,
        queries=queries,
        max_depth=parts,
        root_path_parts=[names.PROCESSED],
    )
    with translated("searching for reconstructions"):
        return [(path, node) for path, node in found.items() if len(path) == parts]


def _search(root: Any, *queries: Any) -> list[Any]:
    return [node for _, node in search_processed(root, *queries, parts=2)]


def asked_at(node: Any) -> float:
    """Return when a reconstruction was asked for, as its node says, in seconds since 1970."""
    for value in (node.metadata.get("requested_at"), node.metadata["status"].get("time")):
        if isinstance(value, int | float):
            return float(value)
    return 0.0


def check_place(node: Any) -> None:
    """Raise `CatalogError` unless something can be written below a node, as below a reconstruction.

    To be asked before anything is: a key with dots leads to a container above.
    """
    path = "/".join(node.path_parts)
    if not all(names.is_key(key) for key in node.path_parts[-2:]):
        raise CatalogError(f"{path} cannot be reconstructed: keys must match {names.KEY_PATTERN}")
    if not isinstance(node, Container):
        raise CatalogError(f"{path} is no reconstruction: it is no container")


def check_reconstruction(node: Any) -> None:
    """Raise `CatalogError` unless a node, as it was read last, is a reconstruction that can be worked on."""
    record = ReconstructionRecord.from_node(node)
    if not is_reconstruction(node):
        raise CatalogError(
            f"{record.path} lacks the spec {names.RECONSTRUCTION_SPEC}, without which nothing checks what is "
            f"written into it; add the spec and queue it again"
        )


def find_reconstruction(root: Any, name: str) -> Any:
    """Return a reconstruction by its path or its key.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    name : str
        ``processed/{run}/{reconstruction}``, the same without its beginning, or the key alone.

    Raises
    ------
    NotFoundError
        There is none of that name.
    CatalogError
        Several runs have one of that key.
    """
    parts = name.strip("/").split("/")
    if len(parts) > 1:
        return child(root, *(parts if parts[0] == names.PROCESSED else (names.PROCESSED, *parts)))
    found = [node for node in _search(root, KeyPresent("recipe")) if node.path_parts[-1] == name]
    if not found:
        raise NotFoundError(f"there is no reconstruction {name!r} in {root.context.api_uri}")
    if len(found) > 1:
        paths = ", ".join("/".join(node.path_parts) for node in found)
        raise CatalogError(f"{name!r} may be any of {paths}; give the path")
    return found[0]


def find_reconstructions(root: Any, run_uid: str) -> list[tuple[Any, ReconstructionRecord]]:
    """Return all reconstructions of a run, oldest first; none if the run has not been processed."""
    try:
        run = child(root, names.PROCESSED, run_uid)
    except NotFoundError:
        return []
    with translated(f"listing the reconstructions of {run_uid}"):
        nodes = [node for node in run.values() if is_reconstruction(node)]
    return [(node, ReconstructionRecord.from_node(node)) for node in nodes]


def find_sweeps(root: Any, run_uid: str) -> list[Any]:
    """Return the nodes of all sweeps of a run, oldest first."""
    try:
        run = child(root, names.PROCESSED, run_uid)
    except NotFoundError:
        return []
    with translated(f"listing the sweeps of {run_uid}"):
        return [node for node in run.values() if is_sweep(node)]


def read_record(node: Any) -> ReconstructionRecord:
    """Return a reconstruction's record as the server has it now."""
    reread(node)
    return ReconstructionRecord.from_node(node)


def reread(node: Any) -> None:
    """Ask the server what a node is now.

    Raises
    ------
    NotFoundError
        It has been deleted.
    """
    with translated(f"reading {'/'.join(node.path_parts)}"):
        node.refresh()


def forget_child(node: Any, key: str, *, external: bool = False) -> None:
    """Delete a child; nothing happens if there is none. Registered files stay where they are."""
    try:
        found = child(node, key)
        with translated(f"deleting {'/'.join((*node.path_parts, key))}"):
            found.delete(recursive=True, external_only=external)
    except NotFoundError:
        return
