"""What a run in Tiled was like, as far as a recipe is concerned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.likeness import ScanConditions
from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.transport import child
from tomoservice.geometry import angular_range_deg
from tomoservice.sources import open_run
from tomoservice.sources.layout import look_up

BEAMLINE_KEYS = ("beamline_id", "beamline", "tomo.beamline", "beamline_name")
"""Where start documents name the beamline; there is no standard."""


def beamline_of(start: Mapping[str, Any]) -> str | None:
    """Return the name of the beamline, if a start document says it."""
    return next((str(look_up(start, key)) for key in BEAMLINE_KEYS if look_up(start, key)), None)


def conditions_of(root: Any, run_uid: str, *, direct: bool = True) -> ScanConditions:
    """Return what a run was like, through its scan layout; no pixel is read.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    run_uid : str
        Raw run.
    direct : bool
        Whether raw files may be opened where they are visible; a server goes through Tiled, which has them
        open in its own way.

    Raises
    ------
    NotFoundError
        There is no such run.
    InputError
        It cannot be read as a scan.
    """
    run = find_run(root, run_uid)
    start: Mapping[str, Any] = run.metadata["start"]
    with open_run(run, catalog=child(root, names.RAW), direct=direct) as scan:
        _, rows, columns = scan.shape
        return ScanConditions(
            beamline=beamline_of(start),
            plan_name=start.get("plan_name"),
            sample_name=scan.sample_name,
            energy_kev=scan.energy_kev,
            pixel_size_um=scan.pixel_size_um,
            distance_mm=scan.distance_mm,
            rows=rows,
            columns=columns,
            angular_range_deg=angular_range_deg(scan.angles_deg) or None,
        )
