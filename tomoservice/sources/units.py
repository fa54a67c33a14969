"""Factors from the units that files name to the ones that the package uses."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Quantity(StrEnum):
    """A physical quantity of a scan, and the unit its value has inside the package."""

    LENGTH_UM = "um"
    DISTANCE_MM = "mm"
    ENERGY_KEV = "keV"
    ANGLE_DEG = "deg"


_LENGTHS_M = {
    "m": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "metre": 1.0,
    "metres": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "millimeter": 1e-3,
    "millimeters": 1e-3,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "micrometer": 1e-6,
    "micrometers": 1e-6,
    "nm": 1e-9,
    "nanometer": 1e-9,
}
_ENERGIES_KEV = {"ev": 1e-3, "kev": 1.0, "mev": 1e3, "j": 6.241509074460763e15}
_ANGLES_DEG = {
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "°": 1.0,
    "rad": 57.29577951308232,
    "radian": 57.29577951308232,
    "radians": 57.29577951308232,
    "mrad": 0.05729577951308232,
}


def factor(unit: str, quantity: Quantity) -> float | None:
    """Return what a value in `unit` is multiplied by, or None for a unit that is unknown.

    Parameters
    ----------
    unit : str
        As written in a file or a layout; upper and lower case are the same.
    quantity : Quantity
        What the value is, and so which unit comes out.
    """
    name = unit.strip().lower()
    match quantity:
        case Quantity.LENGTH_UM:
            return _scaled(_LENGTHS_M.get(name), 1e6)
        case Quantity.DISTANCE_MM:
            return _scaled(_LENGTHS_M.get(name), 1e3)
        case Quantity.ENERGY_KEV:
            return _ENERGIES_KEV.get(name)
        case Quantity.ANGLE_DEG:
            return _ANGLES_DEG.get(name)


def _scaled(value: float | None, by: float) -> float | None:
    # Rounded, because 1e-6 * 1e6 is not 1 in floating point.
    return None if value is None else float(f"{value * by:.12g}")


def unit_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the unit in an HDF5 object's attributes, or None if it has none or an empty one."""
    unit = attributes.get("units")
    # An empty attribute has no shape, an empty array no element.
    if unit is None or getattr(unit, "shape", ()) is None or getattr(unit, "size", 1) == 0:
        return None
    return as_text(unit).strip() or None


def as_text(value: Any) -> str:
    """Return a string that HDF5 may hold as bytes, as an array of one, or as text."""
    if hasattr(value, "size") and hasattr(value, "reshape") and value.size:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
