"""What Tiled checks before it stores a batch, or what is added to one."""

from __future__ import annotations

import time
from typing import Any

from tiled.structures.core import Spec, StructureFamily

from tiled_config.refusals import CONFLICT, check_form, checked, refuse
from tiled_config.stored import stored_metadata
from tomoservice.catalog import names
from tomoservice.catalog.batch_records import AdditionMetadata, BatchMetadata, BatchPart

FIXED = ("runs", "recipes", "priority", "requested_by", "requested_at")
"""What a batch was asked for with; its items follow from it."""
FIXED_OF_ADDITIONS = ("runs", "recipes", "first", "requested_by", "requested_at")
"""What was added to a batch with; likewise."""
VERSIONS = {names.BATCH_SPEC: names.BATCH_VERSION, names.ADDITION_SPEC: names.ADDITION_VERSION}


async def validate_batch(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any]:
    """Check a TomoBatch when it is created or its metadata changes.

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
    dict
        `metadata`.
    """
    del structure
    return await _validate(spec, metadata, entry, structure_family, BatchMetadata, FIXED)


async def validate_addition(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> dict[str, Any]:
    """Check a TomoBatchAddition when it is created or its metadata changes; parameters as above."""
    del structure
    return await _validate(spec, metadata, entry, structure_family, AdditionMetadata, FIXED_OF_ADDITIONS)


async def _validate(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    model: type[BatchPart],
    fixed: tuple[str, ...],
) -> dict[str, Any]:
    check_form(spec, entry, structure_family, VERSIONS[spec.name])
    content = checked(spec.name, model, metadata)
    if entry is None:
        # Whether its items are there, only the service knows.
        completed = content.model_dump(mode="json") | {"submitted": False, "message": ""}
        metadata.update(completed, requested_at=content.requested_at or time.time())
        return metadata
    before = await stored_metadata(entry)
    for name in fixed:
        if metadata.get(name) != before.get(name):
            refuse(spec.name, name, "cannot be changed; ask for another batch", CONFLICT)
    if before.get("submitted") is True and not content.submitted:
        refuse(spec.name, "submitted", "stays true: the items have been made", CONFLICT)
    return metadata
