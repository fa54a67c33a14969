"""What there is of a volume that was stopped before it was complete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.record import ReconstructionRecord, plain
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child
from tomoservice.compute.resolution import is_for
from tomoservice.errors import TomoserviceError
from tomoservice.housekeeping.records import keep_record
from tomoservice.provenance import software_versions
from tomoservice.recipe import parse_recipe
from tomoservice.store import SlabMarker, SlabStore, read_resolution

DESCRIBED = ("resolved_recipe", "resolved_recipe_hash", "geometry", "notes")
"""What a reconstruction says of itself from when it is computed."""


def kept_part(folder: Path, record: ReconstructionRecord) -> dict[str, Any] | None:
    """Return what is to be said of the slabs that exist, as plain JSON types; None if there are none.

    Parameters
    ----------
    folder : Path
        Folder of the store, which need not exist.
    record : ReconstructionRecord
        The reconstruction that was stopped.
    """
    resolution = read_resolution(folder)
    try:
        store = SlabStore.open(folder)
        # What is left of a node that stood under the same key before is none of it.
        is_own = resolution is not None and is_for(resolution, parse_recipe(record.metadata.recipe))
    except TomoserviceError:
        return None
    markers = store.markers()
    if resolution is None or not is_own or not markers:
        return None
    depth = store.shape[0]
    slices = covered(markers.values())
    computed = sum(stop - start for start, stop in slices)
    others = "NaN" if store.dtype.kind == "f" else "0"
    return {
        "slices": slices,
        "slabs": len(markers),
        "slabs_total": -(-depth // store.chunks[0]),
        "text": f"{computed} of {depth} slices are kept, all others read as {others}",
        "provenance": {
            "raw_uid": record.run_uid,
            "identity": json.loads(store.identity) if store.identity else None,
            "resolved_recipe": resolution["recipe"],
            "rotation_axis": _plain_axis(resolution),
            "notes": resolution["notes"],
            "slab_checksums": {str(number): marker.checksum for number, marker in sorted(markers.items())},
            "software": software_versions(),
            **made_by(store),
            "timings_s": store.timings_s(),
            "stopped": datetime.now(UTC).isoformat(),
        },
    }


def made_by(store: SlabStore) -> dict[str, Any]:
    """Return what a record says of the machines that computed the slabs of a store.

    `machine` is the one that computed most of them, empty if that is not known; if there are several,
    `machines` has all, each with its number of slabs.
    """
    makers = store.makers()
    said: dict[str, Any] = {"machine": makers[0][0] if makers else {}}
    if len(makers) > 1:
        said["machines"] = [{**machine, "slabs": slabs} for machine, slabs in makers]
    return said


def keep_stopped(folder: Path, node: Any, kept: dict[str, Any]) -> None:
    """Write beside a volume what there is of it, for the case that the catalogue is lost.

    Parameters
    ----------
    folder : Path
        Folder of the store.
    node : tiled Container
        The reconstruction as it was read last.
    kept : dict
        What `kept_part` found.

    Raises
    ------
    OutputError
        It cannot be written.
    CatalogError, ServiceUnavailableError
        The service does not say what it knows of the volume.
    """
    known = plain(node.metadata)
    content = {key: known[key] for key in DESCRIBED if key in known}
    try:
        volume = plain(child(node, names.VOLUME).metadata)
    except NotFoundError:
        # Deleted by a user.
        volume = {}
    keep_record(folder, node, State.CANCELLED, {**content, "partial": kept}, volume)


def covered(markers: Iterable[SlabMarker]) -> list[tuple[int, int]]:
    """Return the ranges of slices that slabs cover together: first, and the one after the last."""
    ranges: list[tuple[int, int]] = []
    for marker in sorted(markers, key=lambda marker: marker.start):
        if ranges and ranges[-1][1] == marker.start:
            ranges[-1] = (ranges[-1][0], marker.stop)
        else:
            ranges.append((marker.start, marker.stop))
    return ranges


def _plain_axis(resolution: dict[str, Any]) -> dict[str, Any] | None:
    """Return the rotation axis without the curve by which it was found."""
    axis = resolution["axis"]
    if axis is None:
        return None
    return {name: value for name, value in axis.items() if not isinstance(value, list | dict)}
