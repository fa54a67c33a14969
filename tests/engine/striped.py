"""Sinograms with stripes of every kind, and their truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.phantom import default_phantom

Sinogram = NDArray[np.float32]


@dataclass(frozen=True)
class Striped:
    """A sinogram (angle, column) with and without stripes, and the columns of each kind of stripe."""

    sinogram: Sinogram
    truth: Sinogram
    noise: float
    kinds: dict[str, NDArray[np.intp]]


def striped(
    angles: int, columns: int, *, seed: int = 0, noise: float = 0.01, filling: float = 1.0
) -> Striped:
    """Return the phantom, `filling` times as wide as a detector with every defect."""
    random = np.random.default_rng(seed)
    phantom = default_phantom(round(columns * filling), 3)
    views = np.linspace(0, 180, angles, endpoint=False)
    truth = phantom.line_integrals(views, [1], columns=columns)[:, 0]
    sinogram = truth + noise * random.standard_normal(truth.shape)
    large = np.arange(columns // 3, columns // 3 + max(columns // 60, 2))
    unresponsive, fluctuating = np.array([columns // 2 + 7]), np.array([2 * columns // 3])
    taken = np.concatenate([large, unresponsive, fluctuating])[:, None] + np.arange(-6, 7)
    free = random.permutation(np.setdiff1d(np.arange(columns // 5, 4 * columns // 5), taken))
    full, partial = free[: columns // 20], free[columns // 20 : columns // 20 + columns // 40]
    sinogram[:, full] += 0.08 * random.standard_normal(len(full))
    sinogram[angles // 3 :, partial] += 0.08
    sinogram[:, large] += 0.25
    sinogram[:, unresponsive] = 0.4 + 0.05 * noise * random.standard_normal((angles, 1))
    sinogram[:, fluctuating] += random.standard_normal((angles, 1))
    kinds = {
        "full": full,
        "partial": partial,
        "large": large,
        "unresponsive": unresponsive,
        "fluctuating": fluctuating,
    }
    return Striped(sinogram.astype(np.float32), truth, noise, kinds)


def tied(sinogram: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where a value occurs more than once in its column: how it is sorted is a matter of taste."""
    ordered = np.sort(sinogram, axis=0)
    same = ordered[1:] == ordered[:-1]
    result = np.zeros(sinogram.shape, bool)
    for column in np.flatnonzero(same.any(axis=0)):
        result[:, column] = np.isin(sinogram[:, column], ordered[1:, column][same[:, column]])
    return result


def rms(difference: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.asarray(difference, np.float64) ** 2)))
