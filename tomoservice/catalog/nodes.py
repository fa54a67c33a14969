"""Creating and finding reconstruction nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tiled.queries import In
from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FINAL_STATES, State, check_transition
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated
from tomoservice.errors import CatalogError
from tomoservice.recipe import Recipe


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
) -> Any:
    """Create a child container; creation is atomic, so of several callers one succeeds.

    Raises
    ------
    ConflictError
        It exists, unless that `may_exist`: then what is there is returned.
    """
    path = "/".join((*parent.path_parts, key))
    try:
        with translated(f"creating {path}"):
            return parent.create_container(key, metadata=dict(metadata or {}), specs=list(specs))
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


def request_reconstruction(
    root: Any,
    run_uid: str,
    recipe: Recipe,
    *,
    reconstruction_id: str | None = None,
    requested_by: str = "",
) -> tuple[Any, bool]:
    """Create a queued reconstruction of a run.

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

    Returns
    -------
    node : tiled Container
        The reconstruction.
    created : bool
        False if it was there before.
    """
    run = ensure_container(ensure_container(root, names.PROCESSED), run_uid, metadata={"raw_uid": run_uid})
    key = reconstruction_id or names.new_reconstruction_id()
    now = time.time()
    metadata = {
        "recipe": recipe.dump(),
        "recipe_hash": recipe.hash,
        "recipe_name": recipe.name,
        "raw_uid": run_uid,
        "raw_path": f"{names.RAW}/{run_uid}",
        "requested_by": requested_by,
        "requested_at": now,
        "status": {"state": State.QUEUED.value, "attempt": 0, "message": "", "time": now},
    }
    try:
        return create_container(run, key, metadata=metadata, specs=(reconstruction_spec(),)), True
    except ConflictError:
        return child(run, key), False


def reconstruction_spec() -> Any:
    """Return the spec that marks a reconstruction node."""
    return Spec(names.RECONSTRUCTION_SPEC, version=names.RECONSTRUCTION_VERSION)


def is_reconstruction(node: Any) -> bool:
    """Tell whether a node carries a version of our spec that this package knows."""
    return any(
        spec.name == names.RECONSTRUCTION_SPEC and spec.version in (None, names.RECONSTRUCTION_VERSION)
        for spec in node.specs
    )


def find_in_state(root: Any, *states: State) -> list[Any]:
    """Return the nodes below the runs that say that they are in one of some states, oldest request first.

    They need not be sound: whoever dropped the spec or spoilt the recipe shall hear of it, so
    `check_reconstruction` comes after the claim.
    """
    processed = child(root, names.PROCESSED)
    with translated("searching for reconstructions"):
        found = processed.search_deep(In("status.state", [state.value for state in states]), max_depth=2)
        # A path from the processed container has two parts: run and reconstruction.
        nodes = [node for path, node in found.items() if len(path) == 2]
    return sorted(nodes, key=_asked_at)


def _asked_at(node: Any) -> float:
    for value in (node.metadata.get("requested_at"), node.metadata["status"].get("time")):
        if isinstance(value, int | float):
            return float(value)
    return 0.0


def check_reconstruction(node: Any) -> None:
    """Raise `CatalogError` unless a node, as it was read last, is a reconstruction that can be worked on."""
    record = ReconstructionRecord.from_node(node)
    if not is_reconstruction(node):
        raise CatalogError(
            f"{record.path} lacks the spec {names.RECONSTRUCTION_SPEC}, without which nothing checks what is "
            f"written into it; add the spec and queue it again"
        )


def find_reconstructions(root: Any, run_uid: str) -> list[tuple[Any, ReconstructionRecord]]:
    """Return all reconstructions of a run, oldest first; none if the run has not been processed."""
    try:
        run = child(root, names.PROCESSED, run_uid)
    except NotFoundError:
        return []
    with translated(f"listing the reconstructions of {run_uid}"):
        nodes = [node for node in run.values() if is_reconstruction(node)]
    return [(node, ReconstructionRecord.from_node(node)) for node in nodes]


def request_cancel(node: Any, requested_by: str = "") -> None:
    """Ask for a reconstruction to be stopped; asking twice is the same as asking once."""
    metadata = {"requested_by": requested_by, "requested_at": time.time()}
    create_container(node, names.CONTROL_CANCEL, metadata=metadata, may_exist=True)


def requeue(node: Any) -> ReconstructionRecord:
    """Put a failed or cancelled reconstruction back into the queue; slabs that exist are kept.

    Raises
    ------
    IllegalTransitionError
        It is in another state.
    """
    record = read_record(node)
    check_transition(record.state, State.QUEUED, record.path)
    if record.state not in FINAL_STATES:
        raise CatalogError(f"{record.path} is {record.state.value}; only finished ones are queued again")
    forget_child(node, names.CONTROL_CANCEL)
    with translated(f"queueing {record.path} again"):
        node.update_metadata({"status": {"state": State.QUEUED.value, "message": "", "time": time.time()}})
    return read_record(node)


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
