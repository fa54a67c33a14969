"""What every reconstruction method offers, and the geometry they all agree on.

A *reconstructor* makes a *plan* for one set of angles and one detector width; the plan turns sinograms into
slices, slab after slab. The plan holds whatever is worth computing once. Methods differ in how they compute,
never in where things are: ``slice[row, column]`` has x to the right and y up (row 0 at +y), the rotation axis
at pixel ((N-1)/2, (N-1)/2), and at angle 0 detector columns run along +x. A projection at angle t samples
``s = x cos t + y sin t`` at detector column ``s + rotation_axis``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.recon.filters import FilterName

AnyOptions = TypeVar("AnyOptions", bound="SliceOptions")


class Padding(StrEnum):
    """What stands beside the detector when projections are filtered."""

    ZERO = "zero"
    EDGE = "edge"


@dataclass(frozen=True, kw_only=True)
class SliceOptions:
    """Options that every method understands.

    Parameters
    ----------
    size
        Edge of a slice in pixels, the axis in its middle; None stands for as many as detector columns. More
        make sense where the axis lies near one side of the detector and the scan covers a whole turn.
    mask_circle
        Set what lies outside the circle of diameter `size` around the axis to zero. Nothing there is measured
        at all angles, and leaving it out saves a quarter of the time.
    """

    size: int | None = None
    mask_circle: bool = True

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 2:
            msg = f"size is the edge of a slice in pixels, at least 2, got {self.size}"
            raise EngineError(msg)


@dataclass(frozen=True, kw_only=True)
class ReconstructionOptions(SliceOptions):
    """Options that every filtered back-projection understands.

    Parameters
    ----------
    filter_name
        Window on the ramp filter.
    filter_cutoff
        Where the window ends, as a fraction of the Nyquist frequency; above 0, at most 1.
    butterworth_order
        Steepness of the Butterworth window; at least 1.
    padding
        What stands beside the detector: nothing (right for a sample that fits into the field of view; grey
        values are then exact) or the outermost values of each projection, fading over half its width (for a
        sample wider than the field of view: hardly a bright rim, grey values still not exact). How far the
        padding reaches is not an option: always far enough.
    half_acquisition
        Whether the axis lies so far to one side that only a whole turn sees all of the sample: columns that
        opposite views both see are then faded into one another before they are filtered (see
        `tomoservice.recon.half_acquisition`), and each view stands for its own half.
    """

    filter_name: FilterName = FilterName.RAMP
    filter_cutoff: float = 1.0
    butterworth_order: int = 2
    padding: Padding = Padding.ZERO
    half_acquisition: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.filter_cutoff <= 1:
            msg = f"filter_cutoff is a fraction of the Nyquist frequency in (0, 1], got {self.filter_cutoff}"
            raise EngineError(msg)
        if self.butterworth_order < 1:
            msg = f"butterworth_order must be at least 1, got {self.butterworth_order}"
            raise EngineError(msg)


class ReconstructionPlan(Protocol):
    """A method prepared for one set of angles and one detector width; usable for any number of slabs."""

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab.

        Parameters
        ----------
        sinograms : (row, angle, column) float32 array
            Line integrals. Not modified.
        rotation_axis : float or (row,) array
            Detector column of the axis, one for all rows or one for each (a tilted axis).
        first_row : int, default 0
            Detector row of ``sinograms[0]`` in the whole scan. Slabs that begin at multiples of the
            reconstructor's `row_group` give the same bits as one slab of everything.
        out : (row, N, N) float32 array, optional
            Where to put the result, all of which is overwritten.

        Returns
        -------
        (row, N, N) float32 array
            Linear attenuation per pixel; N is the number of detector columns, or `SliceOptions.size`.

        Raises
        ------
        GeometryError
            If shapes do not fit or the axis is not on the detector.
        EngineError
            If the sinograms hold a value that is not finite.
        """
        ...


@runtime_checkable
class PreviewPlan(Protocol):
    """A plan with a quicker way to a few slices than `ReconstructionPlan.execute`."""

    def preview(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a few slices, one after the other, with the least delay.

        Takes, returns and raises what `ReconstructionPlan.execute` does. Grey values agree with it to 1e-3 of
        the largest; the bits are others.
        """
        ...


class Reconstructor(Protocol):
    """A reconstruction method."""

    @property
    def name(self) -> str:
        """Name by which recipes ask for the method."""
        ...

    @property
    def row_group(self) -> int:
        """Detector rows that are computed together; slabs should begin at multiples of it."""
        ...

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> ReconstructionPlan:
        """Prepare everything that does not depend on the data.

        Parameters
        ----------
        angles_deg : (angle,) array
            Angle of each projection in degrees, in any order and spacing.
        columns : int
            Detector columns N.
        options : SliceOptions, optional
            The method's own kind: `ReconstructionOptions` for filtered back-projection, `IterativeOptions`
            for iterative methods; by default with their defaults.
        threads : int, optional
            Threads to use; by default as many as the process may. The result does not depend on it.

        Raises
        ------
        GeometryError
            If there is no angle or no column, or an angle is not finite.
        EngineError
            If the options are another method's.
        """
        ...

    def memory_per_row(self, angles: int, columns: int, size: int | None = None) -> int:
        """Estimate the bytes that a row of a slab takes beside its sinogram and its slice of edge `size`."""
        ...

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes that a plan and its working space take, whatever the size of the slab.

        `size` is the edge of a slice, by default as many pixels as there are columns.
        """
        ...


def reconstruct(
    reconstructor: Reconstructor,
    sinograms: NDArray[np.float32],
    angles_deg: ArrayLike,
    rotation_axis: ArrayLike,
    options: SliceOptions | None = None,
) -> NDArray[np.float32]:
    """Reconstruct one array of sinograms; for more than one slab make a plan and keep it.

    Parameters
    ----------
    reconstructor : Reconstructor
        The method.
    sinograms : (row, angle, column) float32 array
        Line integrals. Not modified.
    angles_deg : (angle,) array
        In degrees.
    rotation_axis : float or (row,) array
        Detector column of the axis.
    options : SliceOptions, optional
        The method's own kind; see `Reconstructor.plan`.

    Returns
    -------
    (row, N, N) float32 array
        Linear attenuation per pixel.
    """
    columns = np.shape(sinograms)[-1] if np.ndim(sinograms) else 0
    return reconstructor.plan(angles_deg, columns, options).execute(sinograms, rotation_axis)


def preview(
    plan: ReconstructionPlan, sinograms: NDArray[np.float32], rotation_axis: ArrayLike, *, first_row: int = 0
) -> NDArray[np.float32]:
    """Reconstruct a few slices with the least delay that a method offers.

    Parameters
    ----------
    plan : ReconstructionPlan
        From any method.
    sinograms : (row, angle, column) float32 array
        Line integrals. Not modified.
    rotation_axis : float or (row,) array
        Detector column of the axis.
    first_row : int, default 0
        Detector row of the first sinogram.

    Returns
    -------
    (row, N, N) float32 array
        See `PreviewPlan.preview`; for a method without it, what `ReconstructionPlan.execute` returns.
    """
    if isinstance(plan, PreviewPlan):
        return plan.preview(sinograms, rotation_axis, first_row=first_row)
    return plan.execute(sinograms, rotation_axis, first_row=first_row)


def aligned_empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an empty float32 array that begins with a cache line (64 bytes).

    Compiled kernels may then move whole lines.
    """
    count = math.prod(shape)
    raw = np.empty(4 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    aligned: NDArray[np.float32] = raw[start : start + 4 * count].view(np.float32).reshape(shape)
    return aligned


class RowsAlone:
    """What most methods are: the rows of a slab take nothing beside their sinograms and slices."""

    def memory_per_row(self, angles: int, columns: int, size: int | None = None) -> int:  # noqa: ARG002
        """See `Reconstructor.memory_per_row`."""
        return 0


def checked_options(options: SliceOptions | None, kind: type[AnyOptions], method: str) -> AnyOptions:
    """Return a method's options, by default the defaults of its kind.

    Parameters
    ----------
    options : SliceOptions or None
        What `Reconstructor.plan` got.
    kind : type
        What the method takes.
    method : str
        Its name, for the message.

    Raises
    ------
    EngineError
        If the options are of another kind.
    """
    if options is None:
        return kind()
    if not isinstance(options, kind):
        msg = f"{method} takes {kind.__name__}, got {type(options).__name__}"
        raise EngineError(msg)
    return options


def checked_angles(angles_deg: ArrayLike, columns: int) -> NDArray[np.float64]:
    """Return the angles in radians, or say what makes no tomogram.

    Parameters
    ----------
    angles_deg : (angle,) array
        In degrees.
    columns : int
        Detector columns.

    Returns
    -------
    (angle,) float64 array
        In radians.

    Raises
    ------
    GeometryError
        If there is no angle or fewer than two columns, or an angle is not finite.
    """
    angles = np.asarray(angles_deg, np.float64)
    if angles.ndim != 1 or not len(angles):
        msg = f"angles_deg must be a list of at least one angle, got shape {angles.shape}"
        raise GeometryError(msg)
    if not np.isfinite(angles).all():
        index = int(np.argmin(np.isfinite(angles)))
        msg = f"angle {index} is {angles[index]}; leave projections without an angle out"
        raise GeometryError(msg)
    if columns < 2:
        msg = f"a slice needs at least 2 detector columns, got {columns}"
        raise GeometryError(msg)
    return np.deg2rad(angles)


@dataclass(frozen=True)
class Slab:
    """Checked arguments of `ReconstructionPlan.execute`.

    Parameters
    ----------
    sinograms
        (row, angle, column) float32.
    axes
        (row,) float64, detector column of the axis for each row.
    first_row
        Detector row of the first sinogram.
    out
        (row, N, N) float32, to be filled; N is the edge of a slice.
    """

    sinograms: NDArray[np.float32]
    axes: NDArray[np.float64]
    first_row: int
    out: NDArray[np.float32]

    @classmethod
    def checked(
        cls,
        shape: tuple[int, int, int],
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        first_row: int,
        out: NDArray[np.float32] | None,
        *,
        xp: Any = np,
    ) -> Slab:
        """Check everything but the values, which are checked row by row while they are in the cache.

        `shape` is (angles, columns, edge of a slice); `xp` has the functions of arrays where the result is.
        """
        angles, columns, size = shape
        data = sinograms if hasattr(sinograms, "__cuda_array_interface__") else np.asarray(sinograms)
        if data.ndim != 3 or data.shape[1:] != (angles, columns):
            msg = (
                f"sinograms of shape {data.shape} do not fit {angles} angles and {columns} columns; "
                "wanted (row, angle, column)"
            )
            raise GeometryError(msg)
        if first_row < 0:
            msg = f"first_row counts detector rows from 0, got {first_row}"
            raise GeometryError(msg)
        rows = len(data)
        empty = aligned_empty if xp is np else partial(xp.empty, dtype=np.float32)
        result = empty((rows, size, size)) if out is None else out
        if result.shape != (rows, size, size) or result.dtype != np.float32:
            msg = f"out must be float32 of shape {(rows, size, size)}, got {result.dtype} {result.shape}"
            raise GeometryError(msg)
        axes = _checked_axes(rotation_axis, rows, columns)
        return cls(data.astype(np.float32, copy=False), axes, first_row, result)

    def contiguous(self) -> Slab:
        """Return the same with arrays that lie in memory without gaps; copies where they do not."""
        data, result = self.sinograms, self.out
        if not result.flags.c_contiguous:
            result = aligned_empty(result.shape) if isinstance(result, np.ndarray) else result.copy()
        return Slab(data if data.flags.c_contiguous else data.copy(), self.axes, self.first_row, result)

    def delivered(self, out: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return the result, in `out` if the caller gave one."""
        if out is None or out is self.out:
            return self.out
        out[...] = self.out
        return out

    def sinogram(self, row: int) -> NDArray[np.float32]:
        """Return one sinogram (angle, column), or say where it is not finite."""
        sinogram: NDArray[np.float32] = self.sinograms[row]
        finite = np.isfinite(sinogram)
        if not finite.all():
            angle, column = np.argwhere(~finite)[0]
            msg = (
                f"the sinogram of detector row {self.first_row + row} is {sinogram[angle, column]} "
                f"at projection {angle}, column {column} ({np.count_nonzero(~finite)} such values); "
                "flat field correction and minus log repair them"
            )
            raise EngineError(msg)
        return sinogram


def _checked_axes(rotation_axis: ArrayLike, rows: int, columns: int) -> NDArray[np.float64]:
    axes = np.asarray(rotation_axis, np.float64)
    if axes.ndim > 1 or (axes.ndim == 1 and len(axes) != rows):
        msg = f"rotation_axis is one column or one for each of the {rows} rows, got shape {axes.shape}"
        raise GeometryError(msg)
    wrong = ~((axes >= 0) & (axes <= columns - 1))
    if wrong.any():
        value = axes[wrong].flat[0] if axes.ndim else axes
        msg = f"rotation_axis {value:g} is not on the detector, whose columns are 0 to {columns - 1}"
        raise GeometryError(msg)
    return np.broadcast_to(axes, (rows,))


def circle_mask(size: int) -> NDArray[np.bool_]:
    """Return True inside the circle of diameter N around the axis.

    Parameters
    ----------
    size : int
        Edge N of a slice.

    Returns
    -------
    (N, N) bool array
        The pixels whose centres lie within N / 2 of the axis.
    """
    offset = np.arange(size) - (size - 1) / 2
    inside: NDArray[np.bool_] = offset[:, None] ** 2 + offset**2 <= (size / 2) ** 2
    return inside
