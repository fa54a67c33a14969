"""Exact projections of known slices: what goes into the benchmarks."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from tests.engine.ellipses import phantom, project, rasterise

Floats = NDArray[np.float32]


def evenly(angles: int) -> NDArray[np.float64]:
    """Return angles in degrees over half a turn, (angle,)."""
    return np.arange(angles) * (180 / angles)


def sinograms(slices: int, angles: int, columns: int) -> Floats:
    """Return sinograms of ellipses, each of another brightness, (row, angle, column)."""
    one = project(phantom(columns), evenly(angles), columns, (columns - 1) / 2, samples=2)
    return one * np.linspace(1, 0.5, slices, dtype=np.float32)[:, None, None]


def striped(rows: int, angles: int, columns: int, *, dead: bool = True) -> Floats:
    """Return sinograms (row, angle, column) with noise and stripes of several kinds.

    No value stands in a column twice: in what order equal ones are sorted is arbitrary. Columns that are made
    from others, in the place of dead ones, may have equal ones again.
    """
    random = np.random.default_rng(1)
    data = 0.01 * sinograms(rows, angles, columns)
    data += random.normal(0, 0.01, data.shape).astype(np.float32)
    data += (random.normal(0, 0.05, columns) * (random.random(columns) < 0.1)).astype(np.float32)
    wide = columns // 3
    data[:, :, wide : wide + columns // 60] += 0.1
    if dead:
        data[:, :, 2 * columns // 3] = 0.5
    for sinogram in data:
        _tell_apart(sinogram)
    return data


def _tell_apart(sinogram: Floats) -> None:
    """Make the values of each column (angle, column) distinct."""
    order = np.argsort(sinogram, axis=0)
    ranked = np.take_along_axis(sinogram, order, axis=0)
    for lower, upper in itertools.pairwise(ranked):
        np.maximum(upper, lower + np.float32(1e-6), out=upper)
    np.put_along_axis(sinogram, order, ranked, axis=0)


def ellipses(angles: int, columns: int) -> tuple[Floats, Floats]:
    """Return one sinogram (angle, column) and its true slice (y, x)."""
    bodies = phantom(columns)
    return project(bodies, evenly(angles), columns, (columns - 1) / 2), rasterise(bodies, columns)


def blobs(angles: int, columns: int, *, count: int = 40, seed: int = 5) -> tuple[Floats, Floats]:
    """Return one sinogram (angle, column) and its true slice (y, x) of Gaussians, which have no edges."""
    random = np.random.default_rng(seed)
    radius = columns / 2
    sigma = 2.0 * np.exp(random.uniform(size=count) * np.log(max(0.06 * radius, 1.5)))
    distance = np.maximum(0.8 * radius - 4 * sigma, 0) * np.sqrt(random.uniform(size=count))
    direction = random.uniform(0, 2 * np.pi, count)
    x, y = distance * np.cos(direction), distance * np.sin(direction)
    height = random.uniform(0.2, 1.2, count)
    theta = np.deg2rad(evenly(angles))[:, None]
    offset = np.arange(columns) - (columns - 1) / 2
    sinogram, image = np.zeros((angles, columns)), np.zeros((columns, columns))
    for i in range(count):
        s = offset - (x[i] * np.cos(theta) + y[i] * np.sin(theta))
        sinogram += height[i] * np.sqrt(2 * np.pi) * sigma[i] * np.exp(-0.5 * (s / sigma[i]) ** 2)
        across = np.exp(-0.5 * ((offset - x[i]) / sigma[i]) ** 2)
        down = np.exp(-0.5 * ((-offset - y[i]) / sigma[i]) ** 2)
        image += height[i] * down[:, None] * across
    return sinogram.astype(np.float32), image.astype(np.float32)


def disc(angles: int, columns: int) -> tuple[Floats, Floats]:
    """Return one sinogram of a uniform disc of 1 and half the field's radius, and each pixel's radius."""
    offset = np.arange(columns) - (columns - 1) / 2
    edge = columns / 4
    # The integral of a chord over a pixel, from its antiderivative.
    s = np.clip((np.arange(columns + 1) - columns / 2) / edge, -1, 1)
    line = edge * np.diff((s * np.sqrt(1 - s * s) + np.arcsin(s)) * edge)
    radius = np.hypot(offset[:, None], offset) / edge
    return np.tile(line.astype(np.float32), (angles, 1)), radius.astype(np.float32)


def inside(columns: int, fraction: float = 0.98) -> NDArray[np.bool_]:
    """Return the circle (y, x) in which slices are compared."""
    offset = np.arange(columns) - (columns - 1) / 2
    within: NDArray[np.bool_] = np.hypot(offset[:, None], offset) <= fraction * columns / 2
    return within


def relative_l2(image: Floats, truth: Floats, where: NDArray[np.bool_]) -> float:
    """Return the relative root mean square error over the part `where`."""
    difference = image[where].astype(np.float64) - truth[where]
    return float(np.linalg.norm(difference) / np.linalg.norm(truth[where].astype(np.float64)))
