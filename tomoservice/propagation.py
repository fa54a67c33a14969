"""Free-space propagation of X-rays: how the phase that a specimen adds becomes intensity on a detector.

Between specimen and detector the wave interferes with itself. An edge gets fringes about
``sqrt(wavelength * distance)`` wide; pixels larger than that see it bright on one side and dark on the other.
Phase retrieval (`tomoservice.prep.phase`) undoes it; `propagate` makes it, for phantoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError, GeometryError

HC_KEV_UM = 1.2398419843320026e-3
"""Planck's constant times the speed of light: the wavelength in micrometres of a photon of 1 keV."""


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """What lies between specimen and detector, for a parallel beam.

    For a cone beam of magnification M take the pixel size at the specimen, and the distance from specimen to
    detector divided by M (Fresnel's scaling theorem).

    Parameters
    ----------
    energy_kev
        Photon energy, keV.
    distance_mm
        From specimen to detector, mm.
    pixel_size_um
        Edge of a (binned) pixel at the specimen, micrometres.

    Raises
    ------
    EngineError
        If one of them is not above 0, or not finite.
    """

    energy_kev: float
    distance_mm: float
    pixel_size_um: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                hint = ": at no distance there is no phase contrast" if name == "distance_mm" else ""
                raise EngineError(f"{name} must be a number above 0, got {value}{hint}")

    @property
    def wavelength_um(self) -> float:
        """Wavelength, micrometres."""
        return HC_KEV_UM / self.energy_kev

    @property
    def fresnel_number(self) -> float:
        """Fresnel number of a pixel: ``pixel_size^2 / (wavelength * distance)``.

        Above 1, fringes are narrower than a pixel and only edges are enhanced (near field).
        """
        return self.pixel_size_um**2 / (self.wavelength_um * self.distance_mm * 1e3)

    @property
    def fringe_pixels(self) -> float:
        """Width of the first Fresnel zone, ``sqrt(wavelength * distance)``, pixels."""
        return 1 / math.sqrt(self.fresnel_number)


def propagate(
    line_integrals: NDArray[np.generic],
    delta_beta: float,
    space: FreeSpace,
    *,
    oversampling: int = 1,
) -> NDArray[np.float32]:
    """Return the intensity on the detector behind a specimen of one material, in a coherent parallel beam.

    The wave behind the specimen, ``exp(-(1 + i delta/beta) p / 2)`` for a line integral p of the attenuation,
    is multiplied by Fresnel's propagator in Fourier space (Goodman, Introduction to Fourier Optics, 3rd ed.,
    section 4.2). Frames are continued by their outermost values, so far that the propagator is nowhere
    undersampled: the result is not limited in band other than by the sampling.

    The wave itself must be sampled well enough: where ``delta_beta / 2 * p`` changes by more than pi between
    neighbours, as at steep edges, it aliases. Sample finer and say so with `oversampling`.

    Parameters
    ----------
    line_integrals : (..., row, column) real array
        Line integrals of the linear attenuation, dimensionless. Not modified.
    delta_beta : float
        Ratio of the refractive index' decrement to its absorption index, at least 0.
    space : FreeSpace
        Energy, distance, and size of a detector pixel.
    oversampling : int
        Samples of `line_integrals` per detector pixel and direction; the intensity is averaged over them.

    Returns
    -------
    (..., row, column) float32 array
        Intensity relative to the open beam, detector pixels. Computed in double precision.

    Raises
    ------
    GeometryError
        If the shape does not fit `oversampling`.
    EngineError
        If `delta_beta` is negative, or a line integral not finite.
    """
    values = np.asarray(line_integrals)
    if (
        values.ndim < 2
        or 0 in values.shape
        or oversampling < 1
        or any(n % oversampling for n in values.shape[-2:])
    ):
        raise GeometryError(
            f"line integrals of shape {values.shape} hold no frames (..., row, column) of whole pixels with "
            f"an oversampling of {oversampling}"
        )
    if not (math.isfinite(delta_beta) and delta_beta >= 0):
        raise EngineError(f"delta_beta must be a number of at least 0, got {delta_beta}")
    if not np.isfinite(values).all():
        raise EngineError(f"{np.count_nonzero(~np.isfinite(values))} line integrals are not finite")
    rows, columns = values.shape[-2:]
    # Wavelength times distance, in units of a squared sample.
    spread = oversampling**2 / space.fresnel_number
    padded = _padded_lengths((rows, columns), spread)
    propagator = _propagator(padded, spread)
    shape = (*values.shape[:-2], rows // oversampling, columns // oversampling)
    frames = values.reshape(-1, rows, columns)
    result = np.empty((len(frames), *shape[-2:]), np.float32)
    for frame, image in zip(frames, result, strict=True):
        intensity = _behind(frame, delta_beta, propagator)[:rows, :columns]
        blocks = intensity.reshape(image.shape[0], oversampling, image.shape[1], oversampling)
        image[...] = blocks.mean(axis=(1, 3))
    return result.reshape(shape)


def _padded_lengths(shape: tuple[int, int], spread: float) -> tuple[int, int]:
    """Return lengths at which neighbouring values of the propagator differ by at most pi in phase."""
    rows, columns = (fft.next_fast_len(length + math.ceil(spread) + 1) for length in shape)
    return rows, columns


def _propagator(shape: tuple[int, int], spread: float) -> NDArray[np.complex128]:
    rows, columns = (np.exp(-1j * np.pi * spread * fft.fftfreq(length) ** 2) for length in shape)
    propagator: NDArray[np.complex128] = rows[:, None] * columns
    return propagator


def _behind(
    frame: NDArray[np.generic], delta_beta: float, propagator: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return the intensity at every sample of the padded frame."""
    # The transform is cyclic: what stands before the first sample stands at the end.
    extra = [(0, total - length) for total, length in zip(propagator.shape, frame.shape, strict=True)]
    halves = [(low, high // 2) for low, high in extra]
    padded = np.pad(np.asarray(frame, np.float64), halves, mode="edge")
    before = [(total - length, 0) for total, length in zip(propagator.shape, padded.shape, strict=True)]
    padded = np.pad(padded, before, mode="edge")
    padded = np.roll(padded, [-n for n, _ in before], axis=(0, 1))
    wave = np.exp(-0.5 * (1 + 1j * delta_beta) * padded)
    wave = fft.ifft2(fft.fft2(wave) * propagator, overwrite_x=True)
    intensity: NDArray[np.float64] = wave.real**2 + wave.imag**2
    return intensity
