"""Beam hardening: line integrals as a beam of many energies shows them -> as one of a single energy would.

The softer part of a beam is absorbed first, so thick material seems to absorb less than in proportion: slices
are darker in the middle (cupping). For one material a polynomial makes the line integrals proportional again.

Scope: pointwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import available_threads, for_each, ranges

# Values worked on at once: a few hundred kilobytes, which stay in the cache.
BLOCK_SAMPLES = 1 << 16
# Coefficients beyond this correct nothing, and would overflow.
LARGEST = 1e30
MOST = 8
"""Coefficients, at most."""


def linearise(
    line_integrals: NDArray[np.generic],
    coefficients: Sequence[float],
    *,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Replace each line integral p by ``c1 p + c2 p^2 + c3 p^3 + ...``.

    Parameters
    ----------
    line_integrals : real array of up to three axes
        Dimensionless. Not modified, unless given as `out` as well.
    coefficients : sequence of float
        c1, c2 and so on. There is no constant: air stays 0.
    out : float32 array of the same shape, optional
        Where to put the result.
    threads : int, optional
        Threads to use; by default as many as the process may. The result does not depend on it.

    Returns
    -------
    float32 array of the same shape
        Dimensionless; finite everywhere.

    Raises
    ------
    EngineError
        If the coefficients are none, more than eight, all 0 or not finite, or a result is not finite.
    GeometryError
        If there are more than three axes, or `out` does not fit.

    References
    ----------
    G. T. Herman, Phys. Med. Biol. 24, 81 (1979), DOI 10.1088/0031-9155/24/1/008.
    """
    factors = checked_coefficients(coefficients)
    source = np.asarray(line_integrals)
    if source.ndim > 3:
        raise GeometryError(f"line integrals have three axes at most, got shape {source.shape}")
    result = np.empty(source.shape, np.float32) if out is None else out
    if result.shape != source.shape or result.dtype != np.float32:
        raise GeometryError(
            f"out must be float32 of shape {source.shape}, got {result.dtype} of shape {result.shape}"
        )
    # Loaded when it is needed: Numba takes longer than all the rest.
    from tomoservice.prep._polynomial_kernel import evaluate

    extra = (None,) * (3 - source.ndim)
    whole, whole_source = result[extra], source[extra]
    step = max(BLOCK_SAMPLES // max(whole.shape[2], 1), 1)
    blocks = [
        (index, slice(row, row + step))
        for index in range(whole.shape[0])
        for row in range(0, whole.shape[1], step)
    ]

    def work(part: tuple[int, int]) -> None:
        for block in blocks[slice(*part)]:
            with np.errstate(over="ignore"):
                values = whole_source[block].astype(np.float32, order="C")
            if evaluate(values.reshape(-1), factors):
                value = whole_source[block][~np.isfinite(values)].flat[0]
                raise overflow(value, coefficients)
            whole[block] = values

    count = threads or available_threads()
    for_each(work, ranges(len(blocks), 4 * count), count)
    return result


def overflow(value: float, coefficients: Sequence[float]) -> EngineError:
    """Return the error that says which line integral gives no finite value."""
    return EngineError(
        f"a line integral of {value:g} gives no finite value with beam_hardening.coefficients "
        f"{list(coefficients)}"
    )


def checked_coefficients(coefficients: Sequence[float]) -> NDArray[np.float32]:
    """Return the coefficients as the engine uses them: eight, float32.

    Raises
    ------
    EngineError
        If there are none, more than eight, all are 0, or one is not finite or beyond 1e30.
    """
    if len(coefficients) > MOST:
        raise EngineError(f"beam_hardening.coefficients are {MOST} at most, got {len(coefficients)}")
    if not all(abs(value) <= LARGEST for value in coefficients) or not any(coefficients):
        raise EngineError(
            "beam_hardening.coefficients must be numbers of a sensible size that are not all 0, got "
            f"{list(coefficients)}"
        )
    factors = np.zeros(MOST, np.float32)
    factors[: len(coefficients)] = coefficients
    return factors


def turning_point(coefficients: Sequence[float], largest: float = 10.0) -> float | None:
    """Return the least line integral, up to `largest`, beyond which the polynomial falls; None if it rises.

    Where it falls, more material gives lower values, and the coefficients cannot be right.
    """
    checked_coefficients(coefficients)
    values = np.linspace(0, largest, 1001)
    slope = sum(n * c * values ** (n - 1) for n, c in enumerate(coefficients, start=1))
    falling = np.flatnonzero(np.asarray(slope) < 0)
    return float(values[falling[0]]) if falling.size else None


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What a detector sees of a beam.

    Parameters
    ----------
    energies_kev
        Photon energies, keV.
    weights
        Signal that the open beam makes at each energy, in any unit; the detector's response included.
    """

    energies_kev: ArrayLike
    weights: ArrayLike

    def checked(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies, and weights whose sum is 1.

        Raises
        ------
        EngineError
            If they do not fit each other, are not finite, or the weights are negative or all 0.
        """
        energies, weights = (np.asarray(v, np.float64) for v in (self.energies_kev, self.weights))
        fit = energies.ndim == 1 and energies.shape == weights.shape and energies.size > 0
        if not fit or not np.isfinite([energies, weights]).all():
            raise EngineError(
                f"a spectrum has a finite weight for each energy, got {energies.size} energies and "
                f"{weights.size} weights"
            )
        if (energies <= 0).any() or (weights < 0).any() or not weights.any():
            raise EngineError("a spectrum's energies are above 0, its weights at least 0 and not all 0")
        return energies, weights / weights.sum()


def fit_coefficients(
    spectrum: Spectrum, attenuation_per_cm: ArrayLike, largest_thickness_cm: float, *, order: int = 4
) -> tuple[float, ...]:
    """Compute the coefficients that linearise one material, from the spectrum.

    Thickness by thickness, what the beam would show is fitted to what thin material shows: c1 is 1, and grey
    values become the attenuation averaged over the open beam.

    Parameters
    ----------
    spectrum : Spectrum
        What the detector sees of the open beam.
    attenuation_per_cm : (energy,) array
        Linear attenuation of the material at the spectrum's energies, 1/cm (xraydb's `material_mu`).
    largest_thickness_cm : float
        Up to which the result is to hold, cm.
    order : int
        Number of coefficients, at most 8.

    Returns
    -------
    tuple of float
        c1, c2 and so on, for `linearise`.

    Raises
    ------
    EngineError
        If a number is out of range, or the material lets nothing through.
    """
    energies, weights = spectrum.checked()
    attenuation = np.asarray(attenuation_per_cm, np.float64)
    if attenuation.shape != energies.shape or not (np.isfinite(attenuation) & (attenuation >= 0)).all():
        raise EngineError(
            f"attenuation_per_cm must be a number of at least 0 for each of {energies.size} energies"
        )
    if not (math.isfinite(largest_thickness_cm) and largest_thickness_cm > 0) or not 1 <= order <= MOST:
        raise EngineError(
            f"a thickness of {largest_thickness_cm} cm and {order} coefficients: both must be above 0, "
            f"and the coefficients {MOST} at most"
        )
    weights, attenuation = weights[weights > 0], attenuation[weights > 0]
    thickness = np.linspace(0, largest_thickness_cm, 200)[1:]
    mean = float(weights @ attenuation)
    # What the hardest part of the beam loses is left out of a sum that could underflow.
    least = attenuation.min()
    shown = least * thickness - np.log(np.exp(-np.outer(thickness, attenuation - least)) @ weights)
    if not mean > 0 or not np.isfinite(shown).all():
        raise EngineError("a material that does not attenuate the beam hardens no beam")
    rest = shown[:, None] ** np.arange(2, order + 1)
    solution, *_ = np.linalg.lstsq(rest / shown[:, None], mean * thickness / shown - 1, rcond=None)
    return (1.0, *(float(value) for value in solution))
