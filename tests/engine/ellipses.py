"""Ellipses whose line integrals are known exactly: the truth that the engine is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in pixels from the rotation axis, y up; `phi` turns the first half axis from x towards y."""

    x: float
    y: float
    a: float
    b: float
    phi: float
    value: float


def phantom(columns: int, *, scale: float = 0.95, seed: int = 3) -> list[Ellipse]:
    """Return a shell with an asymmetric filling that leaves wide flat regions, inside the field of view."""
    radius = scale * columns / 2
    rng = np.random.default_rng(seed)
    shell = [
        Ellipse(0, 0, 0.78 * radius, 0.95 * radius, 0, 1.0),
        Ellipse(0, -0.02 * radius, 0.74 * radius, 0.9 * radius, 0, -0.6),
        Ellipse(0.27 * radius, 0.3 * radius, 0.16 * radius, 0.34 * radius, -0.4, 0.4),
        Ellipse(-0.33 * radius, -0.1 * radius, 0.2 * radius, 0.3 * radius, 0.5, -0.3),
    ]
    details = [
        Ellipse(
            *(0.5 * radius * rng.uniform(-0.8, 0.8, 2)),
            *(radius * rng.uniform(0.015, 0.05, 2)),
            rng.uniform(0, np.pi),
            rng.uniform(0.1, 0.3),
        )
        for _ in range(8)
    ]
    return shell + details


def project(
    ellipses: list[Ellipse],
    angles_deg: NDArray[np.float64],
    columns: int,
    rotation_axis: float,
    *,
    samples: int = 8,
) -> NDArray[np.float32]:
    """Return the sinogram (angle, column), averaged over `samples` points of each detector pixel."""
    angles = np.deg2rad(angles_deg)[:, None]
    within = (np.arange(samples) + 0.5) / samples - 0.5
    s = ((np.arange(columns) - rotation_axis)[:, None] + within).ravel()
    total = np.zeros((len(angles), len(s)))
    for e in ellipses:
        width2 = (e.a * np.cos(angles - e.phi)) ** 2 + (e.b * np.sin(angles - e.phi)) ** 2
        distance = s - (e.x * np.cos(angles) + e.y * np.sin(angles))
        total += 2 * e.value * e.a * e.b / width2 * np.sqrt(np.maximum(width2 - distance**2, 0))
    return total.reshape(len(angles), columns, samples).mean(axis=2).astype(np.float32)


def rasterise(ellipses: list[Ellipse], columns: int, *, samples: int = 4) -> NDArray[np.float32]:
    """Return the slice (row, column) by its convention: axis in the middle, y up."""
    within = (np.arange(samples) + 0.5) / samples - 0.5
    x = ((np.arange(columns) - (columns - 1) / 2)[:, None] + within).ravel()
    y = -x[:, None]
    total = np.zeros((len(x), len(x)), np.float32)
    for e in ellipses:
        u = ((x - e.x) * np.cos(e.phi) + (y - e.y) * np.sin(e.phi)) / e.a
        v = (-(x - e.x) * np.sin(e.phi) + (y - e.y) * np.cos(e.phi)) / e.b
        total[u**2 + v**2 <= 1] += e.value
    return total.reshape(columns, samples, columns, samples).mean(axis=(1, 3))


def radius_map(columns: int) -> NDArray[np.float64]:
    """Return the distance (row, column) of each pixel from the axis."""
    offset = np.arange(columns) - (columns - 1) / 2
    return np.hypot(offset[:, None], offset)


def flat_regions(truth: NDArray[np.float32], margin: int = 4) -> NDArray[np.bool_]:
    """Return where the truth is constant for `margin` pixels around, and not zero."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * margin + 1
    return (maximum_filter(truth, size) - minimum_filter(truth, size) < 1e-4) & (truth > 0.05)


def psnr(image: NDArray[np.float32], truth: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return the peak signal to noise ratio in dB over the part `where`."""
    error = np.sqrt(np.mean((image[where].astype(np.float64) - truth[where]) ** 2))
    return float(20 * np.log10((truth[where].max() - truth[where].min()) / error))
