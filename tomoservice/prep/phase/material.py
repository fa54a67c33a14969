"""The one number about the specimen that phase retrieval needs, and the ways in which people know it.

For a refractive index ``n = 1 - delta + i beta`` it is delta / beta: how much more strongly the material
refracts than it absorbs. For a line integral p of the linear attenuation, the phase shift is
``-delta_beta * p / 2``; for an attenuation mu, ``delta = delta_beta * mu * wavelength / (4 pi)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tomoservice.errors import EngineError
from tomoservice.formulas import check_energy, elements_of
from tomoservice.propagation import HC_KEV_UM


@dataclass(frozen=True)
class RefractiveIndex:
    """A material at one photon energy: ``n = 1 - delta + i beta``.

    Parameters
    ----------
    delta
        Decrement of the real part.
    beta
        Imaginary part, of everything that takes photons out of the beam: absorption and scattering.
        ``4 pi beta / wavelength`` is the linear attenuation that a tomogram shows.
    beta_absorption
        The part of `beta` that photo-electric absorption makes, which other tables call beta.
    """

    delta: float
    beta: float
    beta_absorption: float

    @property
    def delta_beta(self) -> float:
        """Ratio of `delta` to `beta`."""
        return self.delta / self.beta


def refractive_index(formula: str, density_g_cm3: float, energy_kev: float) -> RefractiveIndex:
    """Look a material up in Chantler's tables, by way of xraydb.

    Parameters
    ----------
    formula : str
        Chemical formula: ``H2O``, ``Ca5(PO4)3OH``, ``C0.9Fe0.1``.
    density_g_cm3 : float
        Density, g/cm^3.
    energy_kev : float
        Photon energy, keV.

    Returns
    -------
    RefractiveIndex

    Raises
    ------
    EngineError
        If the formula is none, holds an element that the tables lack, or a number is out of range.

    References
    ----------
    C. T. Chantler, J. Phys. Chem. Ref. Data 29, 597 (2000), DOI 10.1063/1.1321055.
    """
    if not (math.isfinite(density_g_cm3) and density_g_cm3 > 0):
        raise EngineError(f"the density must be a number of g/cm^3 above 0, got {density_g_cm3}")
    check_energy(energy_kev)
    elements_of(formula)
    import xraydb  # type: ignore[import-untyped]

    delta, absorption, length_cm = xraydb.xray_delta_beta(formula, density_g_cm3, energy_kev * 1e3)
    beta = HC_KEV_UM / energy_kev * 1e-4 / (4 * math.pi * float(length_cm))
    if not (delta > 0 and beta > 0):
        raise EngineError(
            f"{formula} at {energy_kev} keV has delta {delta:.3g} and beta {beta:.3g}: no phase can be "
            "retrieved so near an absorption edge; give delta/beta itself"
        )
    return RefractiveIndex(float(delta), beta, float(absorption))


def delta_beta_from_alpha(alpha: float) -> float:
    """Turn TomoPy's regularisation parameter into delta / beta.

    TomoPy's `retrieve_phase` multiplies the spectrum by ``1 / (wavelength dist f^2 / (4 pi) + alpha)``,
    scaled to 1 at frequency f = 0, with f in cycles per length. Paganin's filter is
    ``1 / (1 + pi wavelength dist f^2 delta/beta)``. They are the same for
    ``delta/beta = 1 / (4 pi^2 alpha)``, whatever the energy, the distance and the pixel size.

    TomoPy's frequencies lie half a step off, on a grid wider by one sample, and it pads by the outermost
    values: with `Padding.EDGE` the results differ by 1e-4 of the range on frames of 512 x 512, by 1e-3 on
    64 x 1024, by 1e-2 on 8 x 48. It takes no logarithm, and neither does `PhasePlan`.

    Parameters
    ----------
    alpha : float
        TomoPy's `alpha`, dimensionless.

    Returns
    -------
    float
        delta / beta, dimensionless; 25.3 for TomoPy's default of 1e-3.

    Raises
    ------
    EngineError
        If `alpha` is not above 0.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise EngineError(f"TomoPy's alpha must be a number above 0, got {alpha}")
    return 1 / (4 * math.pi**2 * alpha)


def alpha_from_delta_beta(delta_beta: float) -> float:
    """Turn delta / beta into TomoPy's `alpha`; inverse of `delta_beta_from_alpha`.

    Raises
    ------
    EngineError
        If `delta_beta` is not above 0.
    """
    if not (math.isfinite(delta_beta) and delta_beta > 0):
        raise EngineError(f"delta/beta must be a number above 0, got {delta_beta}")
    return 1 / (4 * math.pi**2 * delta_beta)
