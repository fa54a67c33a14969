"""What is decided once for all slabs of a volume, and what it says of itself afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tomoservice.axis import AxisResult
from tomoservice.pipeline import Plan
from tomoservice.provenance import describe_axis, describe_origin, software_versions
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import TomoScan

ENGINE = ("tomoservice", "numpy", "scipy", "finufft", "astra-toolbox")
"""Packages that determine the pixels."""


@dataclass(frozen=True)
class Resolution:
    """A plan as somebody sees it who does not compute: plain values that travel between processes."""

    recipe: dict[str, Any]
    """The recipe with every automatic value filled in."""
    recipe_hash: str
    """Its hash."""
    identity: str
    """What determines the pixels, so that slabs of different volumes are never mixed."""
    shape: tuple[int, int, int]
    """Shape of the volume (z, y, x)."""
    chunks: tuple[int, int, int]
    """Shape of a chunk (z, y, x); z is the number of slices of a slab."""
    dtype: str
    """Type of a pixel."""
    slabs: int
    """How many slabs there are."""
    least_slabs: int
    """Neighbouring slabs that should be computed together, because they share much of what is read."""
    geometry: dict[str, Any]
    """What the voxels mean."""
    notes: tuple[str, ...]
    """What had to be decided, in sentences."""
    axis: dict[str, Any]
    """The rotation axis and how far it can be trusted."""
    scan: dict[str, Any]
    """Where the scan came from and what it says of itself."""
    volume: dict[str, Any]
    """Metadata of the volume."""


def resolution_of(plan: Plan, scan: TomoScan, least_slabs: int) -> Resolution:
    """Return what a plan decided."""
    return Resolution(
        recipe=plan.resolved.dump(),
        recipe_hash=plan.resolved.hash,
        identity=identity(plan, scan),
        shape=plan.shape,
        chunks=plan.chunks,
        dtype=plan.dtype,
        slabs=len(plan.slabs),
        least_slabs=least_slabs,
        geometry=plan.geometry,
        notes=plan.notes,
        axis=describe_axis(plan),
        scan=describe_origin(scan),
        volume=_volume_metadata(plan),
    )


def identity(plan: Plan, scan: TomoScan) -> str:
    """Return what determines the pixels."""
    content: dict[str, Any] = {
        "recipe": plan.resolved.hash,
        "scan": _frames_of(scan),
        # Processors of different types agree to rounding, which is no reason to throw hours of work away.
        "engine": engine_versions(),
    }
    if scan.companions:
        content["companions"] = {name: _frames_of(other) for name, other in scan.companions.items()}
    # An address says nothing: the same service may have another tomorrow.
    if scan.volumes:
        content["volumes"] = {name: volume.checksum for name, volume in scan.volumes.items()}
    if plan.beam.is_monitored and plan.beam.brightness is not None:
        content["brightness"] = hashlib.sha256(np.ascontiguousarray(plan.beam.brightness).data).hexdigest()
    return json.dumps(content, sort_keys=True)


def _frames_of(scan: TomoScan) -> dict[str, Any]:
    """Return what tells the frames of a scan, by whatever way they are read.

    Raw files do not: workers that see them and workers that read through the service fill the same volume.
    """
    return {
        "run": scan.origin.run_uid,
        "references": dict(scan.origin.references),
        "shape": list(scan.shape),
        "angles": hashlib.sha256(np.ascontiguousarray(scan.angles_deg).data).hexdigest(),
    }


def engine_versions() -> dict[str, str | None]:
    """Return the versions of the packages that determine the pixels."""
    versions = software_versions()
    return {name: versions.get(name) for name in ENGINE}


def stored_form(plan: Plan, scan: TomoScan) -> dict[str, Any]:
    """Return the decisions as plain JSON types, from which `restored` makes the plan's again."""
    return {
        "asked": plan.recipe.dump(),
        "identity": identity(plan, scan),
        "recipe": plan.resolved.dump(),
        "depth": plan.chunks[0],
        "notes": list(plan.notes),
        "axis": None if plan.axis is None else _plain(asdict(plan.axis)),
    }


def is_for(stored: Mapping[str, Any], asked: Recipe) -> bool:
    """Tell whether decisions were made for a recipe, whatever version of the package wrote them."""
    return parse_recipe(stored["asked"], name="stored recipe").hash == asked.hash


def stored_recipe(stored: Mapping[str, Any], name: str) -> Recipe:
    """Return the recipe that was decided on."""
    return parse_recipe(stored["recipe"], name=name)


def restored(plan: Plan, asked: Recipe, stored: Mapping[str, Any]) -> Plan:
    """Return a plan made from a resolved recipe, with what was found out when that was decided."""
    axis = stored["axis"]
    return replace(
        plan,
        recipe=asked,
        notes=tuple(stored["notes"]),
        axis=None if axis is None else AxisResult(**{name: _array(value) for name, value in axis.items()}),
    )


def _volume_metadata(plan: Plan) -> dict[str, Any]:
    size = plan.voxel_size_um
    return {
        "axes": ["z", "y", "x"],
        "units": plan.units,
        "voxel_size_um": None if size is None else [size, size, size],
        "rotation_axis": plan.rotation_axis,
        **plan.scaling,
    }


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in content.items()
    }


def _array(value: Any) -> Any:
    return np.asarray(value, np.float64) if isinstance(value, list) else value
