"""What Tiled checks before it stores a live reconstruction, or what is wished of one."""

from __future__ import annotations

from typing import Any

from tiled.structures.core import Spec, StructureFamily

from tiled_config.refusals import check_form, checked
from tomoservice.catalog import names
from tomoservice.catalog.live_records import LiveMetadata, LiveWishes

VERSION = "1"


async def validate_live(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> None:
    """Check a TomoLive when it is created or its metadata changes.

    Parameters
    ----------
    spec : Spec
        The spec as the client declared it.
    metadata : dict
        All metadata that the node is going to have.
    entry : CatalogNodeAdapter or None
        The node as it is; None while it is being created.
    structure_family : StructureFamily or None
        What is being created.
    structure : object
        Not used; a container has none.
    """
    del structure
    check_form(spec, entry, structure_family, VERSION)
    checked(names.LIVE_SPEC, LiveMetadata, metadata)


async def validate_wishes(
    spec: Spec,
    metadata: dict[str, Any],
    entry: Any,
    structure_family: StructureFamily | None,
    structure: object,
) -> None:
    """Check a TomoLiveWishes when it is created or its metadata changes; see `validate_live`."""
    del structure
    check_form(spec, entry, structure_family, VERSION)
    checked(names.WISHES_SPEC, LiveWishes, metadata)
