"""What Tiled checks before it stores a node of ours.

A refusal is an `HTTPException` with status 422: Tiled hands its text to the client as it is, while a
`ValidationError` would become a 400. Validators see one write at a time and a client may drop a spec,
so the conductor checks again what it works on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import ValidationError
from tiled.structures.core import Spec, StructureFamily

from tiled_config.place import set_run
from tiled_config.refusals import (
    CONFLICT,
    UNPROCESSABLE,
    check_content,
    check_form,
    checked_recipe_hash,
    refuse,
)
from tiled_config.stored import stored_metadata
from tomoservice.catalog import names
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.catalog.record import ReconstructionMetadata, SweepMetadata, first_problem
from tomoservice.catalog.states import INITIAL_STATES, State, is_legal
from tomoservice.errors import RecipeError
from tomoservice.recipe import parse_sweep
from tomoservice.recipe.problems import shown

VERSION = "1"
FIXED = ("recipe", "priority", "batch", "rerun_of")
"""What a reconstruction was asked for with."""
WAYS_OUT = {"priority": "create a child control-priority"}
"""What to do instead of changing those; otherwise, to ask for another reconstruction."""
RECORDED = ("resolved_recipe", "resolved_recipe_hash", "geometry", "notes", "provenance", "raw_uid")
"""What is said of a volume that is done, beside its recipe."""


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
    check_form(spec, entry, structure_family, VERSION)
    check_content(names.RECONSTRUCTION_SPEC, metadata)
    completed = _completed(metadata)
    try:
        record = ReconstructionMetadata.model_validate(completed)
    except ValidationError as error:
        _refuse(*first_problem(error))
    completed["recipe_hash"] = checked_recipe_hash(names.RECONSTRUCTION_SPEC, completed)
    before = {} if entry is None else await stored_metadata(entry)
    if entry is None:
        if record.priority not in ASKED_FOR:
            wanted = " or ".join(priority.value for priority in ASKED_FOR)
            _refuse("priority", f"{record.priority.value!r} cannot be asked for, only {wanted}")
        if record.status.state not in INITIAL_STATES:
            wanted = " or ".join(state.value for state in INITIAL_STATES)
            _refuse("status.state", f"a new reconstruction is {wanted}, not {record.status.state.value}")
    else:
        _check_change(before, record)
    set_run(names.RECONSTRUCTION_SPEC, completed, entry, before)
    if completed == metadata:
        return None
    # Tiled 0.2.20 stores what a validator returns when metadata is changed, but what the client sent when
    # a node is created; so both are made the same.
    metadata.update(completed)
    return metadata


async def validate_sweep(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any] | None:
    """Check a TomoSweep when it is created or its metadata changes; takes and returns as above."""
    del structure
    kind = names.SWEEP_SPEC
    check_form(spec, entry, structure_family, VERSION)
    check_content(kind, metadata)
    try:
        sweep = parse_sweep(metadata.get("sweep"))
    except RecipeError as error:
        _refuse("sweep", "; ".join(error.problems), kind=kind)
    before = {} if entry is None else await stored_metadata(entry)
    if entry is not None and before.get("sweep") != metadata.get("sweep"):
        _refuse("sweep", "cannot be changed; make another sweep", CONFLICT, kind=kind)
    status = metadata.get("status", {})
    if not isinstance(status, Mapping):
        _refuse("status", f"is a mapping, got {shown(status)}", kind=kind)
    status = {"state": State.VIRTUAL.value, "message": "", "time": time.time(), **status}
    try:
        content = SweepMetadata.model_validate({**metadata, "status": status})
    except ValidationError as error:
        _refuse(*first_problem(error), kind=kind)
    state = content.status.state
    if state not in (State.VIRTUAL, State.FAILED):
        _refuse("status.state", f"a sweep is virtual, or failed, never {state.value!r}", kind=kind)
    completed = {
        **metadata,
        "sweep": sweep.model_dump(mode="json") if entry is None else metadata["sweep"],
        "labels": sweep.labels,
        "status": status,
    }
    set_run(kind, completed, entry, before)
    if completed == metadata:
        return None
    metadata.update(completed)
    return metadata


def _completed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata with what a plain client may leave out."""
    completed = {"priority": JobPriority.NORMAL.value, **metadata}
    status = metadata.get("status")
    if isinstance(status, Mapping):
        completed["status"] = {"attempt": 0, "message": "", "time": time.time(), **status}
    return completed


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
            status_code=CONFLICT,
        )
    takeover = new.state is old.state is State.RUNNING
    if new.state is not old.state and not is_legal(old.state, new.state):
        _refuse("status.state", f"{new.state.value} cannot follow {old.state.value}", CONFLICT)
    if not takeover and new.state is old.state and new.attempt != old.attempt:
        _refuse("status.attempt", f"{new.attempt} does not belong to state {old.state.value}", CONFLICT)
    then, now = earlier.model_dump(), after.model_dump()
    # The volume was described by the recipe, and slices of it may have been read.
    for name in (*FIXED, *RECORDED) if old.state is State.DONE else FIXED:
        if now.get(name) != then.get(name):
            way_out = WAYS_OUT.get(name, "ask for another reconstruction")
            _refuse(name, f"cannot be changed; {way_out}", CONFLICT)


def _refuse(
    field: str, reason: str, status_code: int = UNPROCESSABLE, *, kind: str = names.RECONSTRUCTION_SPEC
) -> NoReturn:
    refuse(kind, field, reason, status_code)
