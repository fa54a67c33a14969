"""Where things are in a reconstruction that grows: as in every other one, see `tomoservice.recon.base`."""

from __future__ import annotations

from dataclasses import dataclass

from tomoservice.errors import GeometryError
from tomoservice.recon.half_acquisition import default_size


@dataclass(frozen=True, slots=True)
class LiveGeometry:
    """Detector, rotation axis and size of the slices.

    Parameters
    ----------
    rows, columns
        Of the detector.
    rotation_axis
        Detector column of the axis.
    half_acquisition
        Whether a whole turn about an axis near one side is to show the other side, too (see
        `tomoservice.recon.half_acquisition`).

    Raises
    ------
    GeometryError
        If there is no such detector, or the axis is not on it.
    """

    rows: int
    columns: int
    rotation_axis: float
    half_acquisition: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 2:
            msg = f"a live reconstruction needs a row and two columns, got {self.rows} x {self.columns}"
            raise GeometryError(msg)
        if not 0 <= self.rotation_axis <= self.columns - 1:
            msg = (
                f"the rotation axis must be on the detector, columns 0 to {self.columns - 1}, "
                f"got {self.rotation_axis:g}"
            )
            raise GeometryError(msg)

    @property
    def size(self) -> int:
        """Edge N of a slice in pixels."""
        return default_size(self.columns, self.rotation_axis) if self.half_acquisition else self.columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the whole volume."""
        return self.rows, self.size, self.size


@dataclass(frozen=True, slots=True)
class SlicePosition:
    """Which three slices are shown, by their numbers in the whole volume.

    Parameters
    ----------
    z, y, x
        Number of the slice (y, x), (z, x) and (z, y).
    """

    z: int
    y: int
    x: int

    @classmethod
    def middle(cls, geometry: LiveGeometry) -> SlicePosition:
        """Return the slices through the middle of the volume."""
        return cls(*(size // 2 for size in geometry.shape))

    def within(self, geometry: LiveGeometry) -> SlicePosition:
        """Return the nearest slices that the volume has."""
        wanted = zip((self.z, self.y, self.x), geometry.shape, strict=True)
        return SlicePosition(*(min(max(number, 0), size - 1) for number, size in wanted))
