"""Chemical formulas: what they are made of, as far as tables of X-ray optics go."""

from __future__ import annotations

import math

from tomoservice.errors import EngineError

ENERGIES_KEV = (0.1, 400.0)
"""Range of photon energies that the tables cover."""
HEAVIEST = 92
"""Atomic number of the last element in the tables, uranium."""
LIKE = "write it like H2O or Ca5(PO4)3OH"


def elements_of(formula: str) -> dict[str, float]:
    """Return the elements of a chemical formula and how many atoms of each there are.

    Parameters
    ----------
    formula : str
        ``H2O``, ``Ca5(PO4)3OH``, ``C0.9Fe0.1``.

    Raises
    ------
    EngineError
        If it is none, or holds an element that the tables lack.
    """
    import xraydb  # type: ignore[import-untyped]

    if not formula.strip():
        raise EngineError(f"the formula of the material is empty; {LIKE}")
    try:
        atoms: dict[str, float] = xraydb.chemparse(formula)
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise EngineError(f"the formula {formula!r} cannot be looked up: {reason}; {LIKE}") from error
    for symbol, count in atoms.items():
        if xraydb.atomic_number(symbol) > HEAVIEST:
            raise EngineError(f"the formula {formula!r} cannot be looked up: the tables end at uranium")
        if not (math.isfinite(count) and count > 0):
            raise EngineError(f"the formula {formula!r} holds {count:g} atoms of {symbol}; {LIKE}")
    return atoms


def check_energy(energy_kev: float) -> None:
    """Refuse a photon energy that the tables do not cover.

    Raises
    ------
    EngineError
        Says which energies they cover.
    """
    low, high = ENERGIES_KEV
    if not low <= energy_kev <= high:
        raise EngineError(
            f"materials are tabulated from {low:g} to {high:g} keV, got an energy of {energy_kev}"
        )
