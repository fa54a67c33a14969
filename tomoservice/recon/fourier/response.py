"""The filter of the Fourier method: what each frequency of a projection is multiplied by.

A projection of N columns gives the samples of a slice within a distance R of the axis. Between those N and
these 2 R + 1 places there are no more than N + 2 R differences, wherever the axis lies. So a cyclic
convolution of that length, with the kernel standing at just these differences, is the linear one.

The length is the same for all axes. Another one would put the polar samples to other places, and change
slices by what is lost in spreading them: some thousandths of the largest grey value where there is noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.recon.base import ReconstructionOptions
from tomoservice.recon.filters import transfer_function
from tomoservice.recon.fourier.geometry import good_length


@dataclass(frozen=True)
class Response:
    """What each frequency is multiplied by, for projections whose axes lie in a narrow range.

    Parameters
    ----------
    length
        Samples P of the padded projection; frequency k stands for k / P cycles per pixel.
    axis
        Detector column that is shifted to sample 0.
    factor
        (frequency,) complex128, from -P / 2 to P / 2 - 1, the first of them 0. Filter, shift of the axis to
        sample 0, and 1 / P of the inverse transform.
    edges
        (2, frequency) complex128: the same for the first and the last column's continuation; None where
        nothing stands beside the detector.
    """

    length: int
    axis: float
    factor: NDArray[np.complex128]
    edges: NDArray[np.complex128] | None = None

    def shifts(self, axes: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return (frequency, axis), by what to multiply for other axes."""
        frequency = (np.arange(self.length) - self.length // 2) / self.length
        return turned(frequency[:, None] * (axes - self.axis))

    def shifted(self, axis: float) -> Response:
        """Return the same for another axis."""
        if axis == self.axis:
            return self
        shift = self.shifts(np.array([axis]))[:, 0]
        edges = None if self.edges is None else self.edges * shift
        return Response(self.length, axis, self.factor * shift, edges)


@dataclass(frozen=True)
class Span:
    """Which samples are wanted of which columns.

    Parameters
    ----------
    columns
        Detector columns N.
    reach
        Largest distance from the axis at which a sample is wanted.
    lowest, highest
        Range of the axes, as detector columns.
    """

    columns: int
    reach: float
    lowest: float
    highest: float

    @property
    def length(self) -> int:
        """Samples of the padded projection."""
        spread = math.ceil(self.highest - self.lowest)
        # Of slices smaller than the detector more than is needed: kernels take the second half for empty.
        return 2 * good_length(max((self.columns + 2 * self.reach + spread) / 2, self.columns))

    @property
    def differences(self) -> tuple[int, int]:
        """Smallest and largest difference between a wanted sample and a column."""
        low = math.floor(self.lowest - self.reach) - (self.columns - 1)
        return low, math.ceil(self.highest + self.reach)


class Kernels:
    """A filter's kernels by their length, each computed once: the axes of slices hardly change it.

    Parameters
    ----------
    options
        The filter.
    """

    def __init__(self, options: ReconstructionOptions) -> None:
        self._options = options
        self._made: dict[int, NDArray[np.float64]] = {}

    def __call__(self, length: int) -> NDArray[np.float64]:
        """Return the kernel at differences 0, 1, ..., -1; not to be modified."""
        # Another thread may do the same at the same time; either's is right.
        if length not in self._made:
            self._made[length] = _long_kernel(self._options, length)
        return self._made[length]


def make_response(
    span: Span, options: ReconstructionOptions, *, edges: bool, kernels: Kernels | None = None
) -> Response:
    """Return the response for the axis at ``span.lowest``.

    Parameters
    ----------
    span
        Columns, samples, axes.
    options
        The filter.
    edges
        Whether each projection goes on beyond the detector with its outermost values, fading over half its
        width.
    kernels
        Keeps what responses for other axes share.
    """
    kept = kernels or Kernels(options)
    length = span.length
    (factor,) = make_factors([span], kept)
    if not edges:
        return Response(length, span.lowest, factor)
    low, high = (np.array([end]) for end in _samples(span))
    sides = [
        _wrapped(side, low, high, length) for side in _continuations(kept(_kernel_length(span)), span.columns)
    ]
    continued = _spectra(np.concatenate(sides)) * _to_axis(length, np.array([span.lowest]))
    return Response(length, span.lowest, factor, continued)


def make_factors(spans: Sequence[Span], kernels: Kernels) -> NDArray[np.complex128]:
    """Return for some axes, each at the ``lowest`` of a span of the same length, the `Response.factor`.

    Returns
    -------
    (axis, frequency) complex128 array
    """
    length = spans[0].length
    # Axes within the same pixel share what is transformed, and most axes the kernel.
    alike = {span.differences: _kernel_length(span) for span in spans}
    spectra: dict[tuple[int, int], NDArray[np.complex128]] = {}
    for kernel_length in set(alike.values()):
        several = [differences for differences, own in alike.items() if own == kernel_length]
        low, high = np.array(several).T
        cyclic = _wrapped(kernels(kernel_length), low, high, length)
        spectra.update(zip(several, _spectra(cyclic), strict=True))
    factors = _to_axis(length, np.array([span.lowest for span in spans]))
    for number, span in enumerate(spans):
        factors[number] *= spectra[span.differences]
    return factors


def turned(turns: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return ``exp(2 pi i turns)``."""
    angles = 2 * np.pi * turns
    numbers = np.empty(angles.shape, np.complex128)
    # Several times as fast as the exponential function of complex numbers.
    np.cos(angles, out=numbers.real)
    np.sin(angles, out=numbers.imag)
    return numbers


def _to_axis(length: int, axes: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return (axis, frequency) what shifts each axis to sample 0, and undoes the transform's scale."""
    shifts = turned(axes[:, None] * fft.fftshift(fft.fftfreq(length))) / length
    # The last frequency has no partner.
    shifts[:, 0] = 0
    return shifts


def _spectra(cyclic: NDArray[np.float64]) -> NDArray[np.complex128]:
    spectra: NDArray[np.complex128] = fft.fftshift(fft.fft(cyclic, axis=1), axes=1)
    return spectra


def _kernel_length(span: Span) -> int:
    low, high = span.differences
    return 2 * good_length(max(-low, high) + span.length + span.columns)


def _samples(span: Span) -> tuple[int, int]:
    return math.floor(span.lowest - span.reach), math.ceil(span.highest + span.reach)


def _long_kernel(options: ReconstructionOptions, length: int) -> NDArray[np.float64]:
    """Return the filter's kernel at differences 0, 1, ..., -1, far more of them than are needed."""
    transfer = transfer_function(
        options.filter_name, options.filter_cutoff, options.butterworth_order, length
    )
    kernel: NDArray[np.float64] = fft.irfft(transfer, length)
    return kernel


def _wrapped(
    values: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64], length: int
) -> NDArray[np.float64]:
    """Return `length` places of a longer cyclic array, `low` to `high` among them, as cyclic arrays.

    The rest fades from what follows `high` to what precedes `low`; one array for each of both.
    """
    low, high = low[:, None], high[:, None]
    place = low + np.arange(length)
    after = np.clip((place - high) / np.maximum(length - (high - low), 1), 0, 1)
    part = np.sin(0.5 * np.pi * after) ** 2
    chosen = (1 - part) * values[place % len(values)] + part * values[(place - length) % len(values)]
    cyclic = np.empty(chosen.shape)
    np.put_along_axis(cyclic, place % length, chosen, axis=1)
    return cyclic


def _continuations(kernel: NDArray[np.float64], columns: int) -> list[NDArray[np.float64]]:
    """Return the filtered continuation of a first and of a last column of value 1, cyclic arrays."""
    reach = columns // 2
    fade = np.cos(0.5 * np.pi * (np.arange(reach) + 0.5) / reach) ** 2
    first, last = np.zeros(len(kernel)), np.zeros(len(kernel))
    first[-reach:] = fade[::-1]
    last[columns : columns + reach] = fade
    spectrum = fft.rfft(kernel)
    return [fft.irfft(fft.rfft(side) * spectrum, len(kernel)) for side in (first, last)]
