"""An analytic specimen, ellipsoids whose projections and slices are known exactly, and a camera for it.

Coordinates are those of a volume: origin on the rotation axis, x to the right, y up, in pixels; z is the
detector row. A ray of the projection at angle theta through detector column j has the equation
``x cos(theta) + y sin(theta) = s`` with ``s = j - rotation_axis``. If the axis is tilted in the plane of the
detector by gamma, it meets the specimen's middle row m at `rotation_axis` and any other row i at
``rotation_axis + (i - m) tan(gamma)``: a positive tilt leans its upper end to the left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tomoservice.errors import GeometryError

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Frame = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid that adds `attenuation` to whatever it overlaps.

    Parameters
    ----------
    x, y
        Centre relative to the rotation axis, pixels.
    z
        Centre, detector row.
    a, b, c
        Semi-axes, pixels; `c` is parallel to the rotation axis.
    phi_deg
        Rotation of the first semi-axis about the rotation axis, degrees, counter-clockwise.
    attenuation
        Linear attenuation per pixel, added inside.
    """

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float
    phi_deg: float
    attenuation: float

    def scale(self, rows: Floats) -> Floats:
        """Return the size of the cut at each row relative to the equator.

        Parameters
        ----------
        rows : float64 (row,)

        Returns
        -------
        float64 (row,)
            0 (not cut) to 1.
        """
        scale: Floats = np.sqrt(np.clip(1.0 - ((rows - self.z) / self.c) ** 2, 0.0, None))
        return scale

    def half_width(self, theta: float) -> float:
        """Return half the width of the equator's shadow at `theta` (radians), pixels."""
        turned = theta - math.radians(self.phi_deg)
        return math.hypot(self.a * math.cos(turned), self.b * math.sin(turned))

    def level(self, x: Floats, y: Floats) -> Floats:
        """Return ``(x'/a)^2 + (y'/b)^2`` in the ellipsoid's own frame: below ``scale(row)^2`` is inside."""
        phi = math.radians(self.phi_deg)
        right, up = x - self.x, y - self.y
        along = right * math.cos(phi) + up * math.sin(phi)
        across = up * math.cos(phi) - right * math.sin(phi)
        return np.asarray((along / self.a) ** 2 + (across / self.b) ** 2)


@dataclass(frozen=True)
class FlatRegion:
    """Pixels of one slice that share one attenuation and lie well away from every edge.

    Parameters
    ----------
    attenuation
        Linear attenuation per pixel.
    mask : bool (y, x)
        The pixels.
    """

    attenuation: float
    mask: Mask


@dataclass(frozen=True)
class Phantom:
    """A specimen made of ellipsoids.

    Parameters
    ----------
    columns
        Detector columns N; slices are N x N.
    rows
        Detector rows that the specimen was designed for.
    ellipsoids
        What it is made of.
    """

    columns: int
    rows: int
    ellipsoids: tuple[Ellipsoid, ...]

    def line_integrals(
        self,
        angles_deg: npt.ArrayLike,
        rows: slice | Sequence[int] | None = None,
        *,
        columns: int | None = None,
        rotation_axis: float | None = None,
        tilt_deg: float = 0.0,
    ) -> Image:
        """Project exactly: closed-form integrals, averaged over each detector pixel's width.

        Parameters
        ----------
        angles_deg : float (angle,)
            Projection angles, degrees.
        rows
            Detector rows; all by default. Each is the plane through the row's centre.
        columns
            Detector columns; the phantom's own number by default. With fewer, or with an axis near the side,
            the specimen is wider than the field of view.
        rotation_axis
            Detector column of the rotation axis; ``(columns - 1) / 2`` by default. If the axis is tilted,
            where it meets the middle row of the specimen.
        tilt_deg
            Tilt of the axis in the plane of the detector, degrees; see the module for its sign.

        Returns
        -------
        float32 (angle, row, column)
            Line integrals of the attenuation, dimensionless.
        """
        angles = np.radians(np.atleast_1d(np.asarray(angles_deg, dtype=np.float64)))
        row_values = self._row_values(rows)
        width = self.columns if columns is None else columns
        axis = (width - 1) / 2 if rotation_axis is None else rotation_axis
        result = np.zeros((angles.size, row_values.size, width), dtype=np.float32)
        line = _AxisLine(axis, (self.rows - 1) / 2, math.radians(tilt_deg))
        for ellipsoid in self.ellipsoids:
            for number, theta in enumerate(angles):
                _add_shadow(result[number], _shadow(ellipsoid, row_values, float(theta), line))
        return result

    def volume(self, rows: slice | Sequence[int] | None = None, *, subsamples: int = 8) -> Image:
        """Return the true slices, averaged over each pixel's area.

        Parameters
        ----------
        rows
            Detector rows; all by default.
        subsamples
            Points per pixel and direction where an edge crosses the pixel.

        Returns
        -------
        float32 (z, y, x)
            Linear attenuation per pixel, rotation axis at pixel ``((N - 1) / 2, (N - 1) / 2)``, y up.
        """
        row_values = self._row_values(rows)
        result = np.zeros((row_values.size, self.columns, self.columns), dtype=np.float32)
        for ellipsoid in self.ellipsoids:
            for image, scale in zip(result, ellipsoid.scale(row_values), strict=True):
                if scale > 0:
                    _add_slice(image, ellipsoid, float(scale), subsamples)
        return result

    def flat_regions(self, row: int, *, margin: int = 4, smallest: int = 50) -> list[FlatRegion]:
        """Find where a slice is constant, for checks of grey values.

        Parameters
        ----------
        row
            Detector row.
        margin
            No edge lies within so many pixels.
        smallest
            Regions of fewer pixels are left out.

        Returns
        -------
        list of FlatRegion
            Largest first; the air inside the inscribed circle is one of them.
        """
        image = self.volume([row])[0]
        size = 2 * margin + 1
        padded = np.pad(image, margin, mode="edge")
        across = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
        low, high = across.min(axis=-1), across.max(axis=-1)
        low = np.lib.stride_tricks.sliding_window_view(low, size, axis=0).min(axis=-1)
        high = np.lib.stride_tricks.sliding_window_view(high, size, axis=0).max(axis=-1)
        x, y = _pixel_centres(self.columns)
        # what differs by rounding of overlapping ellipsoids is one value
        constant = (high - low <= 1e-6 * image.max()) & (np.hypot(x, y) < self.columns / 2 - margin)
        rounded = np.where(constant, np.round(image / image.max(), 5), np.nan)
        regions = []
        for value in np.unique(rounded[constant]):
            mask = rounded == value
            if np.count_nonzero(mask) >= smallest:
                regions.append(FlatRegion(attenuation=float(image[mask].mean(dtype=np.float64)), mask=mask))
        return sorted(regions, key=lambda region: -np.count_nonzero(region.mask))

    def _row_values(self, rows: slice | Sequence[int] | None) -> Floats:
        every = np.arange(self.rows, dtype=np.float64)
        if rows is None:
            return every
        return every[rows] if isinstance(rows, slice) else every[list(rows)]


def default_phantom(columns: int, rows: int, *, seed: int = 7, features: int = 24) -> Phantom:
    """Make the specimen that the demonstration and the tests use.

    A dense shell around a lighter matrix, two large plain inclusions, a void, and small ellipsoids of
    random size, orientation and density. Everything lies within 0.9 of the inscribed circle; the greatest
    line integral is about 2 whatever the size.

    Parameters
    ----------
    columns, rows
        Detector size.
    seed
        Of the random features.
    features
        Number of random features.

    Returns
    -------
    Phantom
    """
    if columns < 16 or rows < 1:
        message = f"a phantom needs at least 16 columns and 1 row, got {columns} columns and {rows} rows"
        raise GeometryError(message)
    radius = columns / 2
    height = max(rows, columns)
    unit = 1.0 / radius
    middle = (rows - 1) / 2

    def body(x: float, y: float, a: float, b: float, phi_deg: float, density: float) -> Ellipsoid:
        place = (x * radius, y * radius, middle, a * radius, b * radius)
        return Ellipsoid(*place, c=1.6 * height, phi_deg=phi_deg, attenuation=density * unit)

    bodies = [
        body(0.0, 0.0, 0.86, 0.74, 20.0, 1.6),
        body(0.0, 0.0, 0.80, 0.68, 20.0, -0.9),
        body(0.30, 0.16, 0.24, 0.34, 35.0, 0.5),
        body(-0.36, 0.05, 0.18, 0.30, -15.0, -0.45),
        body(0.05, -0.42, 0.22, 0.12, 10.0, 0.9),
    ]
    random = np.random.default_rng(seed)
    for _ in range(features):
        distance, direction = 0.60 * math.sqrt(random.uniform()), random.uniform(0.0, 2 * math.pi)
        a, b, c = random.uniform(0.015, 0.075, 3) * radius
        bodies.append(
            Ellipsoid(
                x=distance * math.cos(direction) * radius,
                y=distance * math.sin(direction) * radius,
                z=random.uniform(0.0, max(rows - 1, 0)),
                a=a,
                b=b,
                c=2.0 * c,
                phi_deg=random.uniform(0.0, 180.0),
                attenuation=random.uniform(0.3, 1.5) * unit,
            )
        )
    return Phantom(columns=columns, rows=rows, ellipsoids=tuple(bodies))


@dataclass(frozen=True)
class Imperfections:
    """What keeps a camera from being ideal; everything is off by default.

    Parameters
    ----------
    noise
        Relative standard deviation of a pixel of the open beam (0.01: ten thousand photons).
    beam_profile
        Fraction by which the beam is weaker at the corners than in the middle.
    dead_pixels
        Fraction of pixels that never see light.
    zingers
        Pixels per frame, on average, that a stray photon saturates.
    stripes
        Standard deviation of the column gain errors that came up after the flats, in a tenth of the columns.
    seed
        Of everything random.
    """

    noise: float = 0.0
    beam_profile: float = 0.0
    dead_pixels: float = 0.0
    zingers: float = 0.0
    stripes: float = 0.0
    seed: int = 0


class FrameKind(StrEnum):
    """What a frame shows."""

    PROJECTION = "projection"
    FLAT = "flat"
    DARK = "dark"


@dataclass(frozen=True)
class SimulatedCamera:
    """Turns line integrals into frames as a detector would read them.

    The same camera, kind and frame number give the same frame, in any process.

    Parameters
    ----------
    rows, columns
        Size of a frame.
    imperfections
        Noise and defects.
    open_beam
        Counts above the offset where nothing attenuates the beam.
    offset
        Counts without light.
    """

    rows: int
    columns: int
    imperfections: Imperfections = Imperfections()
    open_beam: float = 60000.0
    offset: float = 200.0

    def projection(self, line_integrals: npt.ArrayLike, number: int = 0) -> Frame:
        """Return the frame of a specimen in the beam.

        Parameters
        ----------
        line_integrals : float (row, column)
            Of the attenuation, dimensionless; not modified.
        number
            Of the frame; decides the noise and the zingers.

        Returns
        -------
        uint16 (row, column)
        """
        transmission = np.exp(-np.asarray(line_integrals, dtype=np.float32))
        light = transmission * self._beam * self._stripe_gain
        return self._expose(light, FrameKind.PROJECTION, number)

    def flat(self, number: int = 0) -> Frame:
        """Return a frame of the open beam, uint16 (row, column)."""
        return self._expose(self._beam.copy(), FrameKind.FLAT, number)

    def dark(self, number: int = 0) -> Frame:
        """Return a frame without beam, uint16 (row, column)."""
        return self._expose(np.zeros((self.rows, self.columns), np.float32), FrameKind.DARK, number)

    def dead_pixels(self) -> Mask:
        """Return which pixels never see light, bool (row, column)."""
        random = np.random.default_rng([self.imperfections.seed, 1])
        return random.random((self.rows, self.columns)) < self.imperfections.dead_pixels

    @cached_property
    def _beam(self) -> Image:
        down = np.linspace(-1.0, 1.0, self.rows) if self.rows > 1 else np.zeros(1)
        across = np.linspace(-1.0, 1.0, self.columns)
        fall = (down[:, None] ** 2 + across[None, :] ** 2) / 2
        beam: Image = (1.0 - self.imperfections.beam_profile * fall).astype(np.float32)
        beam[self.dead_pixels()] = 0.0
        return beam

    @cached_property
    def _stripe_gain(self) -> Image:
        random = np.random.default_rng([self.imperfections.seed, 2])
        affected = random.random(self.columns) < 0.1
        gain = 1.0 + self.imperfections.stripes * random.standard_normal(self.columns) * affected
        return gain.astype(np.float32)

    def _expose(self, light: Image, kind: FrameKind, number: int) -> Frame:
        flaws = self.imperfections
        random = np.random.default_rng([flaws.seed, 3, list(FrameKind).index(kind), number])
        counts = light * np.float32(self.open_beam)
        if flaws.noise > 0 and kind is not FrameKind.DARK:
            # a normal distribution stands for Poisson's: photon counts are in the hundreds or more
            spread = np.sqrt(light) * np.float32(flaws.noise * self.open_beam)
            counts += spread * random.standard_normal(counts.shape, dtype=np.float32)
        if flaws.zingers > 0:
            struck = random.integers(counts.size, size=random.poisson(flaws.zingers))
            counts.ravel()[struck] = 65535
        limited = np.clip(np.rint(counts + np.float32(self.offset)), 0, 65535)
        return np.asarray(limited, dtype=np.uint16)


@dataclass(frozen=True)
class _AxisLine:
    """The rotation axis on the detector: its column at the middle row, and its tilt in radians."""

    column: float
    middle_row: float
    tilt: float


@dataclass(frozen=True)
class _Shadow:
    """Projection of an ellipsoid: row i at column j is ``depth * sqrt(scale^2 - ((j - centre) / half)^2)``.

    `centre` and `scale` have one value for each row.
    """

    centre: Floats
    half: float
    scale: Floats
    depth: float


def _shadow(ellipsoid: Ellipsoid, rows: Floats, theta: float, line: _AxisLine) -> _Shadow:
    half = ellipsoid.half_width(theta)
    depth = 2 * ellipsoid.attenuation * ellipsoid.a * ellipsoid.b / half
    offset = ellipsoid.x * math.cos(theta) + ellipsoid.y * math.sin(theta)
    if line.tilt == 0:
        return _Shadow(np.full(rows.shape, line.column + offset), half, ellipsoid.scale(rows), depth)
    # Distances from the centre of the ellipsoid, across and along the axis, where a row meets the column
    # `line.column`; from there on they grow by cos and sin of the tilt with every column.
    sine, cosine = math.sin(line.tilt), math.cos(line.tilt)
    across = -(rows - line.middle_row) * sine - offset
    along = line.middle_row + (rows - line.middle_row) * cosine - ellipsoid.z
    width, height = half**2, ellipsoid.c**2
    # The square under the root, completed.
    curvature = cosine**2 / width + sine**2 / height
    middle = -(across * cosine / width + along * sine / height) / curvature
    level = 1 - across**2 / width - along**2 / height + curvature * middle**2
    scale = np.sqrt(np.clip(level, 0, None))
    return _Shadow(line.column + middle, 1 / math.sqrt(curvature), scale, depth)


def _add_shadow(image: Image, shadow: _Shadow) -> None:
    """Add the pixel-averaged projection of one ellipsoid to `image` (row, column)."""
    cut = np.flatnonzero(shadow.scale)
    if cut.size == 0:
        return
    rows = slice(int(cut[0]), int(cut[-1]) + 1)
    centre, scale = shadow.centre[rows, None], shadow.scale[rows, None]
    reach = shadow.half * scale
    first = max(math.floor(float((centre - reach).min()) + 0.5), 0)
    last = min(math.ceil(float((centre + reach).max()) - 0.5), image.shape[1] - 1)
    if last < first:
        return
    edges = (np.arange(first, last + 2) - 0.5 - centre) / shadow.half
    # the integral over a pixel is the difference of the antiderivative at the pixel's edges
    clipped = np.clip(edges, -scale, scale)
    squared = scale**2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(scale > 0, clipped / scale, 0.0)
    area = clipped * np.sqrt(np.maximum(squared - clipped**2, 0.0)) + squared * np.arcsin(ratio)
    image[rows, first : last + 1] += 0.5 * shadow.depth * shadow.half * np.diff(area, axis=1)


def _add_slice(image: Image, ellipsoid: Ellipsoid, scale: float, subsamples: int) -> None:
    """Add one ellipsoid's cut to `image` (y, x), averaged over the pixels that its edge crosses."""
    x, y = _pixel_centres(image.shape[0])
    reach = max(ellipsoid.a, ellipsoid.b) * scale + 1
    box_x = np.flatnonzero(np.abs(x[0] - ellipsoid.x) <= reach)
    box_y = np.flatnonzero(np.abs(y[:, 0] - ellipsoid.y) <= reach)
    if box_x.size == 0 or box_y.size == 0:
        return
    window = (slice(box_y[0], box_y[-1] + 1), slice(box_x[0], box_x[-1] + 1))
    right, up = np.broadcast_arrays(x[:, window[1]], y[window[0]])
    distance = np.sqrt(ellipsoid.level(right, up))
    # half a pixel's diagonal, in the units of `distance`, at the shorter semi-axis
    border = math.sqrt(0.5) / min(ellipsoid.a, ellipsoid.b)
    share = (distance <= scale).astype(np.float64)
    crossed = np.abs(distance - scale) <= border
    steps = (np.arange(subsamples) + 0.5) / subsamples - 0.5
    near_x = right[crossed][:, None, None] + steps
    near_y = up[crossed][:, None, None] + steps[:, None]
    share[crossed] = (ellipsoid.level(near_x, near_y) <= scale**2).mean(axis=(1, 2))
    image[window] += ellipsoid.attenuation * share


def _pixel_centres(size: int) -> tuple[Floats, Floats]:
    """Return x (1, size) and y (size, 1) of a slice's pixels."""
    steps: Floats = np.arange(size, dtype=np.float64) - (size - 1) / 2
    return steps[None, :], -steps[:, None]
