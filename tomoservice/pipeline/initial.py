"""The volume that an iterative reconstruction starts from, brought to the voxels that are computed now.

An earlier reconstruction of the same scan, or of one with the same detector: coarser perhaps, in other units,
cropped, in whole numbers. Slices are told apart by the detector rows that they come from, and lie in each
other with their rotation axes; in between voxels it is interpolated linearly, which is enough for a start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from tomoservice.errors import EngineError, InputError, RecipeError
from tomoservice.pipeline.finishing import UM_PER_CM
from tomoservice.pipeline.selection import Selection
from tomoservice.recipe import Recipe
from tomoservice.scan import EarlierVolume, TomoScan
from tomoservice.sources.companions import initial_volume_name

SAME_SIZE = 0.01
"""Voxels that differ by no more than this part of themselves count as equally large."""
READ_BYTES = 64 * 2**20
"""Slices that are read at once take so much as float32, or are one or two."""


@dataclass(frozen=True, slots=True)
class InitialVolume:
    """An earlier volume, in the voxels of the one that is computed now."""

    volume: EarlierVolume
    """What is read."""
    size: int
    """Edge M of a slice."""
    ratio: float
    """Edge of a voxel, in those of the earlier volume."""
    first: float
    """Where the middle of slice 0 lies, in slices of the earlier volume."""
    axis_pixel: tuple[float, float]
    """Row and column of the rotation axis in its slices."""
    scale: float
    """Attenuation per voxel is stored number x scale + offset."""
    offset: float
    """See `scale`."""

    def slices(self, begin: int, end: int) -> NDArray[np.float32]:
        """Return slices `begin` to `end`, (z, M, M) in attenuation per voxel; 0 beside the earlier volume.

        Raises
        ------
        EngineError
            If it is not finite there.
        """
        result = np.empty((end - begin, self.size, self.size), np.float32)
        self.put(begin, result)
        return result

    def put(self, begin: int, out: NDArray[np.float32]) -> None:
        """Put the slices from `begin` on into `out`; see `slices`."""
        step = max(int(self._read_slices / self.ratio), 1)
        for start in range(0, len(out), step):
            self._put_some(begin + start, out[start : start + step])

    @property
    def _read_slices(self) -> int:
        """Slices of the earlier volume that are read at once, beside the next one."""
        _, rows, columns = self.volume.shape
        return max(READ_BYTES // (4 * rows * columns), 1)

    @property
    def working_bytes(self) -> int:
        """Memory that `put` takes: as stored, as float32, what is finite, and a slice between two."""
        _, rows, columns = self.volume.shape
        together = max(self._read_slices, math.ceil(self.ratio)) + 2
        return rows * columns * (together * (8 + 4 + 1) + 8)

    def _put_some(self, begin: int, out: NDArray[np.float32]) -> None:
        depth = self.volume.shape[0]
        places = np.clip(self.first + self.ratio * np.arange(begin, begin + len(out)), 0, depth - 1)
        low, high = math.floor(places[0]), math.ceil(places[-1])
        numbers = self.volume.read(slice(low, high + 1)).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise EngineError(
                f"{self.volume.location}: slices {low} to {high} hold values that are not finite: it is no "
                "volume to start from as long as it is not complete"
            )
        numbers *= np.float32(self.scale)
        numbers += np.float32(self.offset)
        for target, place in zip(out, places - low, strict=True):
            self._put(_between(numbers, float(place)), target)

    @property
    def _corner(self) -> tuple[float, float]:
        """Row and column of the earlier slice where the first pixel's middle lies."""
        reach = self.ratio * (self.size - 1) / 2
        return self.axis_pixel[0] - reach, self.axis_pixel[1] - reach

    @property
    def is_resampled(self) -> bool:
        """Whether voxels do not lie on each other."""
        return self.ratio != 1 or any(not float(at).is_integer() for at in (self.first, *self._corner))

    def _put(self, image: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Put a slice of the earlier volume where it belongs."""
        if self.ratio != 1 or any(not at.is_integer() for at in self._corner):
            # Half a voxel at the rim lies beyond the middles of the outermost: there, they are repeated.
            affine_transform(image, [self.ratio] * 2, self._corner, output=out, order=1, mode="nearest")
            for beyond, at, length in zip((out, out.T), self._corner, image.shape, strict=True):
                places = at + self.ratio * np.arange(self.size)
                beyond[(places < -0.5) | (places > length - 0.5)] = 0
            return
        out[:] = 0
        here, there = [], []
        for at, length in zip(self._corner, image.shape, strict=True):
            start, stop = max(int(at), 0), min(int(at) + self.size, length)
            there.append(slice(start, max(stop, start)))
            here.append(slice(start - int(at), max(stop, start) - int(at)))
        out[here[0], here[1]] = image[there[0], there[1]]


def _between(numbers: NDArray[np.float32], place: float) -> NDArray[np.float32]:
    """Return the slice at a place between two."""
    low = math.floor(place)
    part = np.float32(place - low)
    if part == 0:
        one: NDArray[np.float32] = numbers[low]
        return one
    mixed: NDArray[np.float32] = (1 - part) * numbers[low] + part * numbers[low + 1]
    return mixed


def initial_volume(
    recipe: Recipe, scan: TomoScan, selection: Selection, size: int, voxel_size_um: float | None
) -> InitialVolume | None:
    """Return what the iterations start from, or None if the recipe names no volume.

    Parameters
    ----------
    recipe
        May name one.
    scan
        Has it, under that name.
    selection
        What is kept of the scan.
    size
        Edge of a slice in pixels.
    voxel_size_um
        Edge of a voxel, if known.

    Raises
    ------
    InputError
        If it has not been opened with the scan, or does not say what its voxels are.
    RecipeError
        If it does not cover the rows that are kept, or its voxels are of another scale.
    """
    name = initial_volume_name(recipe)
    if name is None:
        return None
    field = "reconstruction.initial_volume"
    if name not in scan.volumes:
        raise InputError(
            scan.origin.location,
            f"{field} names {name!r}, which has not been opened with this scan",
            hint="`tomoservice reconstruct` and the service's reconstructions open volumes",
        )
    volume = scan.volumes[name]
    known = _Described.of(volume)
    ratio = selection.binning / known.binning
    if voxel_size_um is not None and known.voxel_size_um is not None:
        real = voxel_size_um / known.voxel_size_um
        if abs(real / ratio - 1) > SAME_SIZE:
            raise RecipeError(
                f"{field}: voxels of {volume.location} are {known.voxel_size_um:g} um large at binning "
                f"{known.binning}, those of this scan would be {voxel_size_um:g} um at binning "
                f"{selection.binning}: it was made from a scan of another magnification",
                name=recipe.name or "recipe",
            )
    middle = selection.rows.start + selection.binning / 2 - known.first_row
    first = middle / known.binning - 0.5 - known.start
    begins = known.first_row + known.start * known.binning
    ends = begins + volume.shape[0] * known.binning
    # Fewer rows than make a binned one may have been left over.
    if selection.rows.start < begins or selection.rows.stop > ends + known.binning - 1:
        raise RecipeError(
            f"{field}: {volume.location} holds detector rows {begins} to {ends}, and "
            f"{selection.rows.start} to {selection.rows.stop} are wanted; keep fewer (frames.rows)",
            name=recipe.name or "recipe",
        )
    return InitialVolume(
        volume, size, ratio, first, known.axis_pixel, known.scale * ratio, known.offset * ratio
    )


@dataclass(frozen=True, slots=True)
class _Described:
    """What a volume says of its voxels."""

    binning: int
    first_row: int
    """Detector row where the whole volume begins."""
    start: int
    """Slice of the whole volume where this part of it begins."""
    axis_pixel: tuple[float, float]
    voxel_size_um: float | None
    scale: float
    """Attenuation per voxel is stored number x scale + offset."""
    offset: float

    @classmethod
    def of(cls, volume: EarlierVolume) -> _Described:
        said = volume.geometry
        try:
            voxel = said.get("voxel_size_um")
            factor = _per_voxel(said["units"], voxel)
            row, column = said["axis_pixel"]
            return cls(
                binning=int(said["binning"]),
                first_row=int(said["detector_rows"][0]),
                start=int((said.get("start") or (0,))[0]),
                axis_pixel=(float(row), float(column)),
                voxel_size_um=None if voxel is None else float(voxel),
                scale=factor * float(said.get("slope", 1.0)),
                offset=factor * float(said.get("offset", 0.0)),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(
                volume.location,
                f"does not say what its voxels are ({type(error).__name__}: {error})",
                hint="Iterations start from volumes that this program reconstructed",
            ) from error


def _per_voxel(units: str, voxel_size_um: float | None) -> float:
    """Return the factor from grey values to attenuation per voxel."""
    if units == "1/pixel":
        return 1.0
    if units == "1/cm" and voxel_size_um is not None:
        return float(voxel_size_um) / UM_PER_CM
    raise ValueError(f"grey values in {units or 'no unit'!r} with voxels of {voxel_size_um} um")


def describe_start(start: InitialVolume) -> str:
    """Say what the iterations start from, in a sentence for the user."""
    how = ", interpolated" if start.is_resampled else ""
    return f"the iterations start from {start.volume.location}{how}"
