"""What a run's documents say about a scan, found by its layout: names of data keys, sizes, energies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources.layout import MetadataValue, ScanLayout, look_up
from tomoservice.sources.units import Quantity, factor

Found = Iterable[tuple[MetadataValue, Any]]
"""Places of a layout, the best first, with what stands there."""


def in_start(start: Mapping[str, Any], places: Iterable[MetadataValue]) -> Found:
    """Return what a start document says at some places; places elsewhere are left out."""
    said = ((place, look_up(start, place.key)) for place in places if place.stream is None)
    return [(place, value) for place, value in said if value is not None]


def data_keys(
    layout: ScanLayout, start: Mapping[str, Any], keys: tuple[str, ...], where: str
) -> tuple[str, ...]:
    """Return data keys of a layout with the detector's name put in.

    Parameters
    ----------
    layout : ScanLayout
        The layout.
    start : mapping
        Start document, which names the detector.
    keys : tuple of str
        Data keys, in which ``{detector}`` may stand.
    where : str
        Address of the run, for the error.

    Raises
    ------
    MissingDataError
        The start document names none.
    """
    if not any("{detector}" in key for key in keys):
        return keys
    place = layout.detector or "detectors.0"
    detector = look_up(start, place)
    if detector is None:
        raise MissingDataError(
            where, f"the start document has no {place}, which names the detector in layout {layout.name}"
        )
    return tuple(key.replace("{detector}", str(detector)) for key in keys)


def first_number(found: Found, quantity: Quantity | None, layout_name: str, notes: list[str]) -> float | None:
    """Return the first value that is a number, in the package's own unit, or None.

    Parameters
    ----------
    found : iterable
        Where it may stand, and what stands there.
    quantity : Quantity, optional
        What it is, which has to be positive; None for a column.
    layout_name : str
        Layout that names the places, for the error.
    notes : list of str
        Extended by what is ignored.

    Raises
    ------
    InputError
        The layout gives a unit that is unknown.
    """
    for place, value in found:
        by = factor(place.unit or "", quantity) if quantity else 1.0
        try:
            number = float(value) * place.scale * (by or 0.0)
        except (TypeError, ValueError):
            notes.append(f"{place.key} is {value!r}, which is no number: ignored")
            continue
        if by is None:
            raise InputError(
                f"scan layout {layout_name}", f"unit of {place.key} is {place.unit!r}, which is unknown"
            )
        if quantity is None or number > 0:
            return float(f"{number:.12g}")
    return None


def first_text(found: Found) -> str | None:
    """Return the first value that is not empty, as text, or None."""
    return next((str(value) for _, value in found if str(value).strip()), None)
