"""Which scans are like each other, as far as a recipe is concerned.

A recipe suits another scan if what it depends on is the same there: the beamline, the detector and its pixel
(widths of filters, the column of the axis), the energy and the distance (phase retrieval, contrast), and the
angles (half-acquisition or not). What is known of one of two scans only does not count, neither for nor
against. The sample and the plan are no condition, but of several scans that are alike they choose.

Nothing here needs a server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PIXEL_TOLERANCE = 0.02
"""Relative difference of two pixel sizes: that of one magnification, measured twice."""
ENERGY_TOLERANCE = 0.05
"""Relative difference of two energies; delta/beta is proportional to the energy, so it changes as much."""
DISTANCE_TOLERANCE = 0.2
"""Relative difference of two distances from sample to detector; the width of fringes goes with its root."""
RANGE_TOLERANCE = 0.1
"""Relative difference of two angular ranges: 180 and 181 degrees are the same, 180 and 360 are not."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ScanConditions(BaseModel):
    """What a scan was like; None is what nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beamline: str | None = None
    """Name of the beamline."""
    plan_name: str | None = None
    """Bluesky plan that took it."""
    sample_name: str | None = None
    """Name of the sample."""
    energy_kev: Positive | None = None
    """Photon energy in keV."""
    pixel_size_um: Positive | None = None
    """Size of a pixel at the sample, in micrometres."""
    distance_mm: Positive | None = None
    """Distance from sample to detector in millimetres."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Detector rows; no condition, as users crop them to the height of their sample."""
    columns: Annotated[int, Field(ge=1)] | None = None
    """Detector columns."""
    angular_range_deg: Positive | None = None
    """Angle that the projections cover, in degrees."""

    def describe(self) -> str:
        """Return what is known, in words."""
        parts = [
            self.sample_name and f"sample {self.sample_name}",
            self.energy_kev and f"{self.energy_kev:g} keV",
            self.pixel_size_um and f"{self.pixel_size_um:g} um pixels",
            self.columns and f"{self.rows or '?'} x {self.columns} pixels",
            self.angular_range_deg and f"{self.angular_range_deg:.0f} degrees",
            self.plan_name and f"plan {self.plan_name}",
            self.beamline and f"beamline {self.beamline}",
        ]
        return ", ".join(part for part in parts if part) or "nothing is known of it"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two scans have in common, in words."""

    agreements: tuple[str, ...]
    """What is the same."""
    differences: tuple[str, ...]
    """What differs so that the recipe of one need not suit the other."""
    same_sample: bool
    """Whether both are of the same sample."""
    same_plan: bool
    """Whether both were taken by the same plan."""

    @property
    def alike(self) -> bool:
        """Whether a recipe that suits one can be expected to suit the other."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class _Findings:
    agreements: list[str]
    differences: list[str]

    def name(self, what: str, here: str | None, there: str | None) -> bool:
        """Compare two names; tell whether they are known to be the same."""
        if here is None or there is None:
            return False
        same = here.strip().casefold() == there.strip().casefold()
        if same:
            self.agreements.append(f"same {what}")
        return same

    def quantity(self, what: str, unit: str, here: float | None, there: float | None, limit: float) -> None:
        """Compare two quantities, of which a relative difference up to `limit` does no harm."""
        if here is None or there is None:
            return
        off = abs(here - there) / max(here, there)
        if off > limit:
            self.differences.append(f"{what} {here:g} {unit}, there {there:g} {unit}")
        elif off < 0.001:
            self.agreements.append(f"same {what}")
        else:
            self.agreements.append(f"{what} within {math.ceil(off * 100)} %")


def compare(here: ScanConditions, there: ScanConditions) -> Likeness:
    """Compare two scans.

    Parameters
    ----------
    here : ScanConditions
        The scan that wants a recipe.
    there : ScanConditions
        The one that a recipe was accepted for.
    """
    found = _Findings([], [])
    same_sample = found.name("sample", here.sample_name, there.sample_name)
    if not found.name("beamline", here.beamline, there.beamline) and here.beamline and there.beamline:
        found.differences.append(f"beamline {here.beamline}, there {there.beamline}")
    if here.columns is None or there.columns is None:
        # Nothing else says that it was the same camera, and a recipe counts in its pixels.
        found.differences.append("the detector is not known")
    elif here.columns != there.columns:
        found.differences.append(f"{here.columns} detector columns, there {there.columns}")
    else:
        found.agreements.append("same detector" if here.rows == there.rows else "same detector width")
    found.quantity("pixel size", "um", here.pixel_size_um, there.pixel_size_um, PIXEL_TOLERANCE)
    found.quantity("energy", "keV", here.energy_kev, there.energy_kev, ENERGY_TOLERANCE)
    found.quantity("distance", "mm", here.distance_mm, there.distance_mm, DISTANCE_TOLERANCE)
    found.quantity(
        "angular range", "degrees", here.angular_range_deg, there.angular_range_deg, RANGE_TOLERANCE
    )
    same_plan = found.name("plan", here.plan_name, there.plan_name)
    return Likeness(tuple(found.agreements), tuple(found.differences), same_sample, same_plan)
