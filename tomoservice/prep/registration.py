"""How far one picture has moved against another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError, GeometryError

FINE = 0.02
"""Pixels between the places at which the peak is looked for."""
LEAST = 1e-12
"""Part of the strongest amplitude that is no more than rounding."""
FINEST = 0.15
"""Cycles per pixel beyond which detail counts less and less."""
AROUND = 1.0
"""Pixels on either side of the highest sample among which the peak is looked for."""


def image_shift(reference: NDArray[np.generic], image: NDArray[np.generic]) -> tuple[float, float]:
    """Return how many pixels down and to the right `image` shows what `reference` shows.

    The peak of the correlation of both, with amplitudes of half the weight and faded out towards their edges,
    by a Fourier transform sampled finely around it (Guizar-Sicairos 2008, DOI 10.1364/OL.33.000156). What
    leaves the frame or is faded out draws the result towards 0: move one of them by it, and repeat.

    Parameters
    ----------
    reference, image : (row, column) real arrays
        Of the same size, finite. Not modified.

    Returns
    -------
    (float, float)
        At most a quarter of the frame either way.

    Raises
    ------
    GeometryError
        If they are not of the same size.
    EngineError
        If one of them shows nothing.
    """
    shape = reference.shape
    if len(shape) != 2 or image.shape != shape:
        raise GeometryError(f"pictures of shapes {shape} and {image.shape} cannot be compared")
    spectra = [fft.fft2(_faded(picture)) for picture in (reference, image)]
    product = spectra[1] * spectra[0].conj()
    strength = np.abs(product)
    if not strength.max() > 0:
        raise EngineError("nothing is to be seen in one of the pictures, so no shift can be found")
    # Between cross-correlation, in which the coarsest forms outweigh all detail, and phase correlation, in
    # which noise counts as much.
    product /= np.sqrt(np.maximum(strength, LEAST * strength.max()))
    frequencies = np.hypot.outer(*(fft.fftfreq(length) for length in shape))
    product *= np.exp(-((frequencies / FINEST) ** 2) / 2)
    correlation = fft.ifft2(product).real
    places = [np.rint(fft.fftfreq(length) * length) for length in shape]
    within = [np.abs(place) <= max(length // 4, 1) for place, length in zip(places, shape, strict=True)]
    correlation[~np.logical_and.outer(*within)] = -np.inf
    highest = np.unravel_index(int(np.argmax(correlation)), shape)
    steps = np.arange(-AROUND, AROUND + FINE / 2, FINE)
    fine = [place[index] + steps for place, index in zip(places, highest, strict=True)]
    down, across = (
        np.exp(2j * np.pi * np.outer(candidates, fft.fftfreq(length)))
        for candidates, length in zip(fine, shape, strict=True)
    )
    peak = np.unravel_index(int(np.argmax((down @ product @ across.T).real)), (steps.size, steps.size))
    return float(fine[0][peak[0]]), float(fine[1][peak[1]])


def _faded(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    rows, columns = (np.hanning(length + 2)[1:-1] for length in picture.shape)
    window = rows[:, None] * columns
    values = np.asarray(picture, np.float64)
    faded: NDArray[np.float64] = (values - np.average(values, weights=window)) * window
    return faded
