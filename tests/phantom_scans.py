"""Scans of the phantom, in memory and on disk, with everything known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.phantom import Imperfections, Phantom, SimulatedCamera, default_phantom
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan


@dataclass(frozen=True)
class PhantomScan:
    """A simulated scan and the truth behind it."""

    phantom: Phantom
    rows: tuple[int, ...]
    rotation_axis: float
    angles_deg: NDArray[np.float64]
    projections: NDArray[np.uint16]
    flats: NDArray[np.uint16]
    darks: NDArray[np.uint16]
    tilt_deg: float = 0.0

    @property
    def reference_row(self) -> float:
        """The row of the camera that `rotation_axis` belongs to if the axis is tilted."""
        return (self.phantom.rows - 1) / 2 - self.rows[0]

    @property
    def truth(self) -> NDArray[np.float32]:
        """True slices (z, y, x)."""
        return self.phantom.volume(self.rows)

    def scan(self, *, flats: bool = True, darks: bool = True, pixel_size_um: float | None = None) -> TomoScan:
        """Return it as a scan held in memory."""
        return TomoScan(
            projections=ArrayFrames(self.projections),
            angles_deg=self.angles_deg,
            origin=ScanOrigin("memory", "phantom"),
            flats=ArrayFrames(self.flats) if flats else None,
            darks=ArrayFrames(self.darks) if darks else None,
            pixel_size_um=pixel_size_um,
        )

    def write_dxchange(self, path: Path, *, flats: bool = True) -> Path:
        """Write it as a DXchange file."""
        with h5py.File(path, "w") as file:
            exchange = file.create_group("exchange")
            exchange["data"] = self.projections
            exchange["theta"] = self.angles_deg
            exchange["data_dark"] = self.darks
            if flats:
                exchange["data_white"] = self.flats
        return path


def phantom_scan(
    columns: int,
    rows: int | Sequence[int],
    angles: int,
    *,
    rotation_axis: float | None = None,
    imperfections: Imperfections | None = None,
    range_deg: float = 180.0,
    angles_deg: NDArray[np.float64] | None = None,
    tilt_deg: float = 0.0,
    sample_columns: int | None = None,
) -> PhantomScan:
    """Simulate a scan; of a tall phantom, `rows` picks the rows that the camera sees.

    `angles_deg` takes the place of equal steps. A sample made for `sample_columns` is wider than the
    detector. The axis may be tilted about its place in the phantom's middle row.
    """
    chosen = tuple(range(rows)) if isinstance(rows, int) else tuple(rows)
    size = sample_columns or columns
    phantom = default_phantom(size, rows if isinstance(rows, int) else size // 2)
    axis = (columns - 1) / 2 if rotation_axis is None else rotation_axis
    if angles_deg is None:
        angles_deg = np.arange(angles) * (range_deg / angles)
    integrals = phantom.line_integrals(
        angles_deg, chosen, columns=columns, rotation_axis=axis, tilt_deg=tilt_deg
    )
    camera = SimulatedCamera(len(chosen), columns, imperfections or Imperfections())
    return PhantomScan(
        phantom=phantom,
        rows=chosen,
        rotation_axis=axis,
        angles_deg=angles_deg,
        projections=np.stack([camera.projection(image, i) for i, image in enumerate(integrals)]),
        flats=np.stack([camera.flat(i) for i in range(10)]),
        darks=np.stack([camera.dark(i) for i in range(10)]),
        tilt_deg=tilt_deg,
    )
