"""What Tiled checks before it stores a node of ours.

A refusal is an `HTTPException` with status 422: Tiled hands its text to the client as it is, while a
`ValidationError` would become a 400. Validators see one write at a time and a client may drop a spec,
so the conductor checks again what it works on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NoReturn

from fastapi import HTTPException
from pydantic import ValidationError
from tiled.structures.core import Spec, StructureFamily

from tomoservice.catalog.record import ReconstructionMetadata, first_problem
from tomoservice.catalog.states import INITIAL_STATES, State, is_legal
from tomoservice.errors import RecipeError
from tomoservice.recipe import parse_recipe

KNOWN_VERSIONS = (None, "1")
RECIPE_MAY_CHANGE = (State.VIRTUAL, State.QUEUED, State.FAILED, State.CANCELLED)
"""Nobody computes by the recipe, and no volume claims to come from it."""
RECORDED = ("resolved_recipe", "resolved_recipe_hash", "geometry", "notes", "provenance", "raw_uid")
"""What is said of a volume that is done, beside its recipe."""
CONFLICT = 409
UNPROCESSABLE = 422


async def validate_reconstruction(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any] | None:
    """Check a TomoReconstruction when it is created or its metadata changes.

    Parameters
    ----------
    spec : Spec
        The spec as the client declared it.
    metadata : dict
        All metadata that the node is going to have; what the client may leave out is added.
    entry : CatalogNodeAdapter or None
        The node as it is; None while it is being created.
    structure_family : StructureFamily or None
        What is being created.
    structure : object
        Not used; a container has none.

    Returns
    -------
    dict or None
        `metadata` if something was added, else None.
    """
    del structure
    if spec.version not in KNOWN_VERSIONS:
        _refuse("specs", f"version {spec.version!r} of TomoReconstruction is unknown; known is '1'")
    if entry is None and structure_family not in (None, StructureFamily.container):
        _refuse("structure_family", f"a TomoReconstruction is a container, not {structure_family}")
    completed = _completed(metadata)
    try:
        record = ReconstructionMetadata.model_validate(completed)
    except ValidationError as error:
        _refuse(*first_problem(error))
    _check_recipe(completed)
    if entry is None:
        if record.status.state not in INITIAL_STATES:
            wanted = " or ".join(state.value for state in INITIAL_STATES)
            _refuse("status.state", f"a new reconstruction is {wanted}, not {record.status.state.value}")
    else:
        _check_change(entry.metadata(), record)
    if completed == metadata:
        return None
    # Tiled 0.2.20 stores what a validator returns when metadata is changed, but what the client sent when
    # a node is created; so both are made the same.
    metadata.update(completed)
    return metadata


def _completed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata with the parts of `status` that a plain client may leave out."""
    status = metadata.get("status")
    if not isinstance(status, Mapping):
        return dict(metadata)
    return {**metadata, "status": {"attempt": 0, "message": "", "time": time.time(), **status}}


def _check_recipe(metadata: dict[str, Any]) -> None:
    try:
        metadata["recipe_hash"] = parse_recipe(metadata["recipe"]).hash
    except RecipeError as error:
        _refuse("recipe", "; ".join(error.problems))


def _check_change(before: Mapping[str, Any], after: ReconstructionMetadata) -> None:
    """Refuse a state that may not follow, and a writer that has been overtaken."""
    try:
        earlier = ReconstructionMetadata.model_validate(before)
    except ValidationError:
        # Written before it had its spec: whatever it was, it is valid now.
        return
    old, new = earlier.status, after.status
    if new.attempt < old.attempt:
        _refuse(
            "status.attempt",
            f"attempt {old.attempt} works on it, this is attempt {new.attempt}",
            status_code=409,
        )
    takeover = new.state is old.state is State.RUNNING
    if new.state is not old.state and not is_legal(old.state, new.state):
        _refuse("status.state", f"{new.state.value} cannot follow {old.state.value}", CONFLICT)
    if not takeover and new.state is old.state and new.attempt != old.attempt:
        _refuse("status.attempt", f"{new.attempt} does not belong to state {old.state.value}", CONFLICT)
    then, now = earlier.model_dump(), after.model_dump()
    for name in _fixed(old.state):
        if now.get(name) != then.get(name):
            _refuse(name, f"cannot be changed while it is {old.state.value}; ask for another", CONFLICT)


def _fixed(state: State) -> tuple[str, ...]:
    """Return which metadata must stay as they are in a state."""
    if state is State.DONE:
        return ("recipe", *RECORDED)
    return () if state in RECIPE_MAY_CHANGE else ("recipe",)


def _refuse(field: str, reason: str, status_code: int = UNPROCESSABLE) -> NoReturn:
    raise HTTPException(status_code, detail=f"TomoReconstruction: {field}: {reason}")
