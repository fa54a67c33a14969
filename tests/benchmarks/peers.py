"""What ours is compared with: FINUFFT, plain NumPy and SciPy, other packages; each as fast as it goes."""

from __future__ import annotations

import importlib
from types import ModuleType

import finufft
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tests.benchmarks.harness import NotThereYetError
from tomoservice.propagation import FreeSpace
from tomoservice.threads import for_each, ranges

Floats = NDArray[np.float32]


class FinufftFbp:
    """Filtered back-projection by FINUFFT as one would write it for speed.

    The ramp filter is the band-limited one at twice the width; two real slices make a complex transform,
    several of which are handed over at once; the plan is made once. Axis in the middle of the detector.

    Parameters
    ----------
    angles_deg
        (angle,), evenly spaced over half a turn.
    columns
        Detector columns N.
    eps
        Tolerance that FINUFFT is asked for.
    batch
        Complex transforms that are handed over at once.
    paired
        Whether two slices share a transform; not so for one slice alone.
    threads
        Of the transforms.
    """

    def __init__(
        self,
        angles_deg: NDArray[np.float64],
        columns: int,
        *,
        threads: int,
        eps: float = 1e-3,
        batch: int = 4,
        paired: bool = True,
    ) -> None:
        self._columns, self._threads, self._paired = columns, threads, paired
        self._batch = batch
        self._slices = batch * (2 if paired else 1)
        single = eps >= 1e-5
        self._complex = np.complex64 if single else np.complex128
        self._real = np.float32 if single else np.float64
        theta = np.deg2rad(angles_deg)
        frequency = fft.fftfreq(columns)
        x = 2 * np.pi * np.cos(theta)[:, None] * frequency
        y = -2 * np.pi * np.sin(theta)[:, None] * frequency
        middle = (columns - 1) / 2
        weights = np.exp(2j * np.pi * frequency * middle) * np.exp(1j * (columns // 2 - middle) * (x + y))
        weights *= np.pi / (len(theta) * columns)
        if columns % 2 == 0:
            weights[:, columns // 2] = 0
        self._weights = weights.astype(self._complex)
        self._ramp = _ramp(2 * columns).astype(self._real)
        self._plan = finufft.Plan(
            1,
            (columns, columns),
            n_trans=batch,
            eps=eps,
            isign=1,
            dtype=np.dtype(self._complex).name,
            # The smaller grid is three to four times faster, and good for no more than about nine digits.
            upsampfac=1.25 if single else 2.0,
            nthreads=threads,
        )
        self._plan.setpts(y.ravel().astype(self._real), x.ravel().astype(self._real))
        self._image = np.empty((batch, columns, columns), self._complex)

    def __call__(self, sinograms: Floats, out: Floats | None = None) -> Floats:
        """Return slices (row, N, N) of sinograms (row, angle, column)."""
        rows, angles, columns = sinograms.shape
        volume = np.empty((rows, columns, columns), np.float32) if out is None else out
        for start in range(0, rows, self._slices):
            part = sinograms[start : start + self._slices]
            if len(part) < self._slices:
                part = np.concatenate(
                    [part, np.zeros((self._slices - len(part), angles, columns), np.float32)]
                )
            image = self._plan.execute(self._strengths(part).reshape(self._batch, -1), out=self._image)
            image = image.reshape(self._batch, columns, columns)
            found = min(self._slices, rows - start)
            if not self._paired:
                volume[start : start + found] = image.real[:found]
                continue
            volume[start : start + found : 2] = image.real[: (found + 1) // 2]
            volume[start + 1 : start + found : 2] = image.imag[: found // 2]
        return volume

    def _strengths(self, part: Floats) -> NDArray[np.complexfloating]:
        columns, threads = self._columns, self._threads
        if self._paired:
            pairs = np.empty((self._batch, part.shape[1], columns), self._complex)
            pairs.real, pairs.imag = part[0::2], part[1::2]
            spectrum = fft.fft(pairs, 2 * columns, axis=-1, workers=threads)
            spectrum *= self._ramp
            filtered = fft.ifft(spectrum, axis=-1, workers=threads, overwrite_x=True)
        else:
            real = part.astype(self._real, copy=False)
            half = fft.rfft(real, 2 * columns, axis=-1, workers=threads)
            half *= self._ramp[: columns + 1]
            filtered = fft.irfft(half, 2 * columns, axis=-1, workers=threads, overwrite_x=True)
        strengths = fft.fft(filtered[:, :, :columns], axis=-1, workers=threads)
        strengths *= self._weights
        return strengths


def _ramp(length: int) -> NDArray[np.float64]:
    """Return the transform of the band-limited ramp sampled in space (Kak and Slaney 1988)."""
    index = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = index % 2 == 1
    kernel[odd] = -1 / (np.pi * index[odd]) ** 2
    ramp: NDArray[np.float64] = np.fft.fft(kernel).real
    return ramp


def plain_flat_field(frames: NDArray[np.uint16], flat: Floats, dark: Floats, least: float = 1e-4) -> Floats:
    """Return line integrals (angle, row, column) as one would write them in NumPy."""
    transmission = (frames - dark) / (flat - dark)
    return -np.log(np.maximum(transmission, np.float32(least)))


def sparing_flat_field(frames: NDArray[np.uint16], flat: Floats, dark: Floats, out: Floats) -> Floats:
    """Return the same, written for speed: into an array that is there already, without temporaries."""
    np.subtract(frames, dark, out=out)
    np.multiply(out, 1 / (flat - dark), out=out)
    np.maximum(out, np.float32(1e-4), out=out)
    np.log(out, out=out)
    return np.negative(out, out=out)


def copy(source: NDArray[np.generic], target: NDArray[np.generic], threads: int) -> None:
    """Copy along the first axis, on several threads, converting if the types differ."""

    def work(part: tuple[int, int]) -> None:
        np.copyto(target[slice(*part)], source[slice(*part)], casting="unsafe")

    for_each(work, ranges(len(source), threads), threads)


class MirroredPaganin:
    """Paganin's filter frame by frame, each mirrored at its edges, by SciPy's Fourier transforms.

    Parameters
    ----------
    shape
        Rows and columns of a frame.
    margin
        Mirrored pixels on every side, at least.
    delta_beta
        Refraction over absorption.
    space
        Energy, distance and pixel size.
    """

    def __init__(self, shape: tuple[int, int], margin: int, delta_beta: float, space: FreeSpace) -> None:
        self._shape = shape
        padded = [fft.next_fast_len(length + 2 * margin) for length in shape]
        self._pad = [
            ((size - length) // 2, size - length - (size - length) // 2)
            for size, length in zip(padded, shape, strict=True)
        ]
        v, u = (fft.fftfreq(size) for size in padded)
        blur = np.pi * delta_beta * space.wavelength_um * space.distance_mm * 1e3 / space.pixel_size_um**2
        self._filter = (1 / (1 + blur * (v[:, None] ** 2 + u**2))).astype(np.float32)

    def __call__(self, frames: Floats) -> Floats:
        """Return the retrieved transmissions of frames (angle, row, column)."""
        rows, columns = self._shape
        (top, _), (left, _) = self._pad
        result = np.empty_like(frames)
        for number, frame in enumerate(frames):
            spectrum = fft.fft2(np.pad(frame, self._pad, mode="symmetric"))
            retrieved = fft.ifft2(spectrum * self._filter).real
            result[number] = retrieved[top : top + rows, left : left + columns]
        return result


def optional(name: str) -> ModuleType:
    """Import another package, or say that it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotThereYetError(f"{name.partition('.')[0]} is not importable here") from error
