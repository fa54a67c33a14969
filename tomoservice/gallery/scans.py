"""Simulated scans that each need one stage, with the truth behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from tomoservice.errors import GeometryError
from tomoservice.phantom import Imperfections, Phantom, SimulatedCamera, default_phantom
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.propagation import FreeSpace, propagate
from tomoservice.recipe import parse_recipe
from tomoservice.scan import ArrayFrames, EarlierVolume, ImageKey, ScanOrigin, TomoScan

Image = NDArray[np.float32]
Raw = NDArray[np.uint16]

NOISE = 0.004
"""Relative noise of a pixel of the open beam, unless a scan is about noise."""
FLATS, DARKS = 20, 10
BAND = 48
"""Detector rows of most scans, the one that is shown in the middle: some stages look at neighbours."""
PIXEL_SIZE_UM = 1.0
ENERGY_KEV = 20.0
DISTANCE_MM = 12.0
DELTA_BETA = 200.0
LIGHT = 0.05
"""Attenuation of the specimen for phase contrast, relative to the usual one."""
PHASE_BAND = 112
"""Detector rows for phase contrast, which reaches farther than other stages."""
PHASE_NOISE = 0.008
WEAK_DELTA_BETA = 20.0
FARTHER_MM, FARTHER = 60.0, (3, -2.3)
"""A second distance, and by how many rows and columns the view differs there."""
TILT_DEG = 0.4


@dataclass(frozen=True)
class GalleryScan:
    """A scan, and what is known of it.

    Parameters
    ----------
    scan
        The scan.
    truth
        Gives the true slices (z, y, x) of a range of detector rows; None for a measured scan.
    known
        What else is known of a simulated scan: `axis`, the true column of the rotation axis,
        `width`, the number of columns, and `delta_beta`.
    """

    scan: TomoScan
    truth: Callable[[slice], Image] | None = None
    known: dict[str, float] = field(default_factory=dict)

    def row(self, height: float) -> int:
        """Return the detector row at a fraction of the height from the top."""
        rows = self.scan.shape[1]
        return min(int(height * rows), rows - 1)


@dataclass(frozen=True)
class View:
    """How the phantom is looked at.

    Parameters
    ----------
    rows
        First detector row, and the row after the last.
    rotation_axis
        Column of the axis.
    span
        Width of the phantom in detector widths.
    turn_deg
        Range of the angles.
    tilt_deg
        Tilt of the axis in the plane of the detector.
    """

    rows: tuple[int, int]
    rotation_axis: float
    span: float = 1.0
    turn_deg: float = 180.0
    tilt_deg: float = 0.0


class Simulations:
    """Makes scans of the phantom by name, and keeps those that were made.

    Parameters
    ----------
    size
        Detector columns N; 1.5 N projections over half a turn.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.angles = size * 3 // 2
        self.axis = (size - 1) / 2 + round(0.0145 * size, 1)
        height = min(BAND, size)
        self.band = ((size - height) // 2, (size - height) // 2 + height)
        self._view = View(self.band, self.axis)
        self._kept_integrals: dict[View, Image] = {}
        self._kept: dict[str, GalleryScan] = {}
        self._makers: dict[str, Callable[[], GalleryScan]] = {
            "whole": lambda: self._simple(replace(self._view, rows=(0, size))),
            "plain": lambda: self._simple(self._view),
            "noisy": lambda: self._simple(self._view, noise=0.03),
            "changed gains": lambda: self._simple(self._view, stripes=0.03),
            "noisy and striped": lambda: self._simple(self._view, noise=0.03, stripes=0.03),
            "offset": lambda: self._simple(View(self.band, round(0.2 * size), 1.55, 360.0)),
            "wide": lambda: self._simple(replace(self._view, span=1.7)),
            "tilted": lambda: self._simple(View((0, size), self.axis, tilt_deg=TILT_DEG)),
            "plain, without flats": self._without_flats,
            "striped": self._striped,
            "zingers": lambda: self._simple(self._view, zingers=self._per_frame(2e-3)),
            "spoiled pixels": self._spoiled_pixels,
            "noisy pixels": self._noisy_pixels,
            "drifting beam": self._drifting,
            "moving beam": self._moving,
            "flickering beam": self._flickering,
            "coarse volume": self._with_coarse_volume,
            "bad flats": self._bad_flats,
            "propagated": self._propagated,
            "two distances": self._two_distances,
            "hardened": self._hardened,
        }

    def __getitem__(self, name: str) -> GalleryScan:
        """Return the scan of that name.

        Raises
        ------
        GeometryError
            If there is none.
        """
        if name not in self._kept:
            if name not in self._makers:
                raise GeometryError(f"no simulated scan {name!r}; there are {', '.join(self._makers)}")
            self._kept[name] = self._makers[name]()
        return self._kept[name]

    def forget(self) -> None:
        """Let go of the scans that were made."""
        self._kept.clear()
        self._kept_integrals.clear()

    def _phantom(self, view: View) -> Phantom:
        return default_phantom(round(view.span * self.size), self.size)

    def _integrals(self, view: View) -> Image:
        """Return exact line integrals (angle, row, column)."""
        if view not in self._kept_integrals:
            self._kept_integrals[view] = self._phantom(view).line_integrals(
                self._angles_deg(view),
                slice(*view.rows),
                columns=self.size,
                rotation_axis=view.rotation_axis,
                tilt_deg=view.tilt_deg,
            )
        return self._kept_integrals[view]

    def _angles_deg(self, view: View) -> NDArray[np.float64]:
        count = round(self.angles * view.turn_deg / 180)
        return np.arange(count, dtype=np.float64) * (view.turn_deg / count)

    def _camera(self, view: View, **flaws: float) -> SimulatedCamera:
        imperfections = Imperfections(**{"noise": NOISE, "beam_profile": 0.3, **flaws})  # type: ignore[arg-type]
        return SimulatedCamera(view.rows[1] - view.rows[0], self.size, imperfections)

    def _per_frame(self, fraction: float) -> float:
        return fraction * self.size * (self.band[1] - self.band[0])

    def _simple(self, view: View, **flaws: float) -> GalleryScan:
        return self._exposed(view, self._integrals(view), self._camera(view, **flaws))

    def _exposed(self, view: View, integrals: Image, camera: SimulatedCamera) -> GalleryScan:
        return self._scan(view, _projections(camera, integrals), _flats(camera), _darks(camera))

    def _scan(
        self, view: View, projections: Raw, flats: Raw, darks: Raw, *, flats_after: int = 0
    ) -> GalleryScan:
        phantom, first = self._phantom(view), view.rows[0]
        before = len(flats) - flats_after
        keys = np.repeat(
            np.array([ImageKey.DARK, ImageKey.FLAT, ImageKey.PROJECTION, ImageKey.FLAT], np.int8),
            [len(darks), before, len(projections), flats_after],
        )
        scan = TomoScan(
            projections=ArrayFrames(projections),
            angles_deg=self._angles_deg(view),
            origin=ScanOrigin("memory", "phantom"),
            flats=ArrayFrames(flats),
            darks=ArrayFrames(darks),
            image_keys=keys,
            pixel_size_um=PIXEL_SIZE_UM,
            energy_kev=ENERGY_KEV,
            sample_name="phantom",
        )

        def truth(rows: slice) -> Image:
            return phantom.volume(slice(first + rows.start, first + rows.stop))

        known = {"axis": view.rotation_axis, "delta_beta": DELTA_BETA, "width": float(self.size)}
        return GalleryScan(scan, truth, known)

    def _without_flats(self) -> GalleryScan:
        """As the plain one, but nobody took flats."""
        plain = self["plain"]
        return replace(plain, scan=replace(plain.scan, flats=None, image_keys=None))

    def _propagated(self) -> GalleryScan:
        """A specimen that hardly absorbs, some way before the detector: its edges have fringes."""
        return self._fringes(self._phase_view(), DISTANCE_MM, DELTA_BETA)

    def _two_distances(self) -> GalleryScan:
        """A weak specimen, and once more from farther away, where it stands higher and more to the left."""
        view = self._phase_view()
        rows = view.rows[0] + FARTHER[0], min(view.rows[1] + FARTHER[0], self.size)
        moved = replace(view, rows=rows, rotation_axis=self.axis + FARTHER[1])
        near = self._fringes(view, DISTANCE_MM, WEAK_DELTA_BETA)
        far = self._fringes(moved, FARTHER_MM, WEAK_DELTA_BETA, seed=1)
        return replace(
            near,
            scan=replace(near.scan, companions={"farther": far.scan}),
            known={**near.known, "delta_beta": WEAK_DELTA_BETA},
        )

    def _phase_view(self) -> View:
        middle, half = self.size // 2, min(PHASE_BAND, self.size) // 2
        return replace(self._view, rows=(middle - half, middle + half))

    def _fringes(self, view: View, distance_mm: float, delta_beta: float, *, seed: int = 0) -> GalleryScan:
        integrals = np.float32(LIGHT) * self._integrals(view)
        space = FreeSpace(energy_kev=ENERGY_KEV, distance_mm=distance_mm, pixel_size_um=PIXEL_SIZE_UM)
        measured = np.stack([-np.log(propagate(image, delta_beta, space)) for image in integrals])
        held = self._exposed(view, measured, self._camera(view, noise=PHASE_NOISE, seed=seed))
        true = held.truth
        return replace(
            held,
            scan=replace(held.scan, distance_mm=distance_mm),
            truth=None if true is None else lambda rows: np.float32(LIGHT) * true(rows),
        )

    def _striped(self) -> GalleryScan:
        """Every kind of stripe: thin, wide, only part of the time, dead and fluctuating columns."""
        view, random = self._view, np.random.default_rng(11)
        size, angles = self.size, self.angles
        gain = np.zeros((angles, 1, size), np.float32)
        thin = random.choice(size, size // 12, replace=False)
        gain[:, :, thin] += random.normal(0, 0.03, thin.size)
        wide = slice(round(0.36 * size), round(0.36 * size) + max(size // 40, 3))
        gain[:, :, wide] += 0.05
        part = round(0.66 * size)
        gain[angles // 3 : 3 * angles // 4, :, part : part + 2] -= 0.06
        camera = self._camera(view)
        frames = _projections(camera, self._integrals(view) + gain)
        frames[:, :, round(0.42 * size)] = 9000
        fluctuating = round(0.58 * size)
        frames[:, :, fluctuating] = random.integers(5000, 50000, (angles, 1))
        return self._scan(view, frames, _flats(camera), _darks(camera))

    def _spoiled_pixels(self) -> GalleryScan:
        """Pixels that died after the flats were taken, and pixels that read far too much."""
        camera, random = self._camera(self._view), np.random.default_rng(12)
        frames = _projections(camera, self._integrals(self._view))
        draw = random.random(frames.shape[1:])
        frames[:, draw < 0.004] = 300
        frames[:, draw > 0.996] = 64000
        return self._scan(self._view, frames, _flats(camera), _darks(camera))

    def _noisy_pixels(self) -> GalleryScan:
        """Pixels that read something else in every frame, flats and darks too."""
        camera, random = self._camera(self._view), np.random.default_rng(16)
        stacks = [_projections(camera, self._integrals(self._view)), _flats(camera), _darks(camera)]
        noisy = random.random(stacks[0].shape[1:]) < 0.01
        for frames in stacks:
            frames[:, noisy] = random.integers(2000, 60000, (len(frames), int(noisy.sum())))
        return self._scan(self._view, *stacks)

    def _drifting(self) -> GalleryScan:
        """A structured beam that wanders slowly, with flats before and after."""
        camera, beam = self._camera(self._view), _Beam(self._view_shape(), seed=13)
        wander = max(self.size / 170, 0.8)

        def at(time: float) -> Image:
            return beam.moved(wander * time, wander * time) + np.float32(np.log1p(-0.15 * time))

        times = np.linspace(0, 1, self.angles)
        drift = np.stack([at(time) for time in times])
        ends = np.repeat([0.0, 1.0], FLATS // 2)
        flats = _projections(camera, np.stack([-at(time) for time in ends]), first=10**6)
        frames = _projections(camera, self._integrals(self._view) - drift)
        return self._scan(self._view, frames, flats, _darks(camera), flats_after=FLATS // 2)

    def _moving(self) -> GalleryScan:
        """A structured beam that vibrates from frame to frame."""
        camera, beam = self._camera(self._view), _Beam(self._view_shape(), seed=14)
        random = np.random.default_rng(14)
        reach = max(self.size / 120, 1.0)
        way = random.normal(0, reach, (self.angles + 3 * FLATS, 2))
        light = np.stack([beam.moved(down, across) for down, across in way])
        frames = _projections(camera, self._integrals(self._view) - light[: self.angles])
        flats = _projections(camera, -light[self.angles :], first=10**6)
        return self._scan(self._view, frames, flats, _darks(camera))

    def _flickering(self) -> GalleryScan:
        """A beam whose brightness changes from frame to frame."""
        camera, random = self._camera(self._view), np.random.default_rng(15)
        slow = np.cumsum(random.normal(0, 0.01, self.angles))
        brightness = (slow + random.normal(0, 0.02, self.angles)).astype(np.float32)
        brightness -= brightness.max()
        frames = _projections(camera, self._integrals(self._view) - brightness[:, None, None])
        held = self._scan(self._view, frames, _flats(camera), _darks(camera))
        flats = 0 if held.scan.flats is None else held.scan.flats.shape[0]
        readings = np.exp(brightness.astype(np.float64))
        return replace(held, scan=replace(held.scan, monitor=readings, flat_monitor=np.ones(flats)))

    def _with_coarse_volume(self) -> GalleryScan:
        """As the plain one, with a volume that was made from binned frames and few projections."""
        plain = self["plain"]
        recipe = parse_recipe(
            {
                "frames": {"binning": 2, "angles": {"step": 8}},
                "rotation_axis": {"method": "value", "value": self.axis},
                "reconstruction": {"method": "sirt", "iterations": 60, "minimum": 0.0},
            }
        )
        plan = prepare(plain.scan, recipe)
        volume = np.empty(plan.shape, np.float32)

        def keep(slab: Slab, slices: Image) -> None:
            volume[slab.start : slab.stop] = slices

        compute(plan, plain.scan, on_slab=keep)
        earlier = EarlierVolume("a coarse volume", plan.shape, plan.geometry, lambda z: volume[z])
        return replace(plain, scan=replace(plain.scan, volumes={"coarse": earlier}))

    def _bad_flats(self) -> GalleryScan:
        """Flats of which some were taken with the shutter closed or with the sample still in the beam."""
        camera = self._camera(self._view)
        flats = _flats(camera)
        integrals = self._integrals(self._view)
        flats[3] = camera.dark(100)
        flats[9] = camera.projection(integrals[0], 10**6)
        flats[10] = camera.projection(integrals[0], 10**6 + 1)
        return self._scan(self._view, _projections(camera, integrals), flats, _darks(camera))

    def _hardened(self) -> GalleryScan:
        """A beam that gets harder on its way: thick parts attenuate less than they should."""
        integrals = 1.6 * self._integrals(self._view)
        measured = (integrals - 0.06 * integrals**2).astype(np.float32) / np.float32(1.6)
        return self._exposed(self._view, measured, self._camera(self._view))

    def _view_shape(self) -> tuple[int, int]:
        return self.band[1] - self.band[0], self.size


class _Beam:
    """A beam with structure, as mirrors and multilayers make it."""

    def __init__(self, shape: tuple[int, int], seed: int) -> None:
        self._margin = 16
        random = np.random.default_rng(seed)
        padded = (shape[0] + 2 * self._margin, shape[1] + 2 * self._margin)
        fine = gaussian_filter(random.standard_normal(padded), 2.0)
        bands = gaussian_filter(random.standard_normal((padded[0], 1)), (2.0, 0))
        structure = fine / fine.std() + bands / bands.std()
        # Nowhere brighter than the camera can tell.
        self._log = (0.06 * (structure - structure.max())).astype(np.float32)

    def moved(self, down: float, across: float) -> Image:
        """Return the logarithm of the beam (row, column), shifted by pixels."""
        limit = self._margin - 1
        by = (float(np.clip(down, -limit, limit)), float(np.clip(across, -limit, limit)))
        kept = slice(self._margin, -self._margin)
        moved: Image = shift(self._log, by, order=1, mode="nearest")[kept, kept]
        return moved


def _projections(camera: SimulatedCamera, integrals: Image, *, first: int = 0) -> Raw:
    return np.stack([camera.projection(image, first + i) for i, image in enumerate(integrals)])


def _flats(camera: SimulatedCamera) -> Raw:
    return np.stack([camera.flat(i) for i in range(FLATS)])


def _darks(camera: SimulatedCamera) -> Raw:
    return np.stack([camera.dark(i) for i in range(DARKS)])
