"""What the simulated camera sees: an analytic specimen, or a recorded scan played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from tomoservice.errors import InputError
from tomoservice.phantom import Imperfections, Phantom, SimulatedCamera, default_phantom
from tomoservice.scan import Frames

Frame = npt.NDArray[Any]

PIXEL_TYPES: Final = {
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
    "float32": "Float32",
    "float64": "Float64",
}
"""NumPy's names of the pixel types, and areaDetector's."""


class FrameSource(Protocol):
    """Makes the camera's frames; every method is called from the camera's own thread."""

    rows: int
    columns: int
    dtype: np.dtype[Any]

    def projection(self, angle_deg: float, number: int) -> Frame:
        """Return what stands in the beam at a stage angle, (row, column)."""

    def flat(self, number: int) -> Frame:
        """Return the open beam, (row, column)."""

    def dark(self, number: int) -> Frame:
        """Return a frame without beam, (row, column)."""


class PhantomFrames:
    """Frames of the analytic specimen.

    Parameters
    ----------
    phantom
        The specimen.
    rotation_axis
        Detector column of the rotation axis.
    imperfections
        Of the camera.
    """

    def __init__(self, phantom: Phantom, rotation_axis: float, imperfections: Imperfections) -> None:
        self.rows, self.columns = phantom.rows, phantom.columns
        self.dtype: np.dtype[Any] = np.dtype(np.uint16)
        self._phantom = phantom
        self._rotation_axis = rotation_axis
        self._camera = SimulatedCamera(phantom.rows, phantom.columns, imperfections)

    @classmethod
    def default(
        cls, rows: int, columns: int, rotation_axis: float, imperfections: Imperfections
    ) -> PhantomFrames:
        """Show the ready-made specimen."""
        return cls(default_phantom(columns, rows), rotation_axis, imperfections)

    def projection(self, angle_deg: float, number: int) -> Frame:
        """Return what stands in the beam at a stage angle, uint16 (row, column)."""
        integrals = self._phantom.line_integrals([angle_deg], rotation_axis=self._rotation_axis)
        return self._camera.projection(integrals[0], number)

    def flat(self, number: int) -> Frame:
        """Return the open beam, uint16 (row, column)."""
        return self._camera.flat(number)

    def dark(self, number: int) -> Frame:
        """Return a frame without beam, uint16 (row, column)."""
        return self._camera.dark(number)


class ReplayFrames:
    """Frames of a recorded scan: the projection nearest to the stage's angle, flats and darks in turn.

    Parameters
    ----------
    path
        Any scan that `tomoservice.sources` can open.

    Raises
    ------
    InputError
        The scan cannot be read, or has no flats.
    """

    def __init__(self, path: Path) -> None:
        # a camera that shows the phantom has no use for the readers
        from tomoservice.sources import open_scan

        scan = open_scan(path)
        if scan.flats is None or scan.flats.shape[0] == 0:
            raise InputError(path, "has no flats to show when the sample is out of the beam")
        self._projections, self._flats, self._darks = scan.projections, scan.flats, scan.darks
        self._angles = scan.angles_deg
        self.rows, self.columns = scan.projections.shape[1:]
        self.dtype: np.dtype[Any] = _camera_type(scan.projections.dtype)

    def projection(self, angle_deg: float, number: int) -> Frame:  # noqa: ARG002
        """Return the recorded projection nearest to the stage's angle, (row, column)."""
        return self._frame(self._projections, int(np.argmin(np.abs(self._angles - angle_deg))))

    def flat(self, number: int) -> Frame:
        """Return one of the recorded flats, (row, column)."""
        return self._frame(self._flats, number)

    def dark(self, number: int) -> Frame:
        """Return one of the recorded darks, or zeros if there are none, (row, column)."""
        if self._darks is None or self._darks.shape[0] == 0:
            return np.zeros((self.rows, self.columns), dtype=self.dtype)
        return self._frame(self._darks, number)

    def _frame(self, stack: Frames, number: int) -> Frame:
        return np.asarray(stack[number % stack.shape[0]], dtype=self.dtype)


def _camera_type(recorded: np.dtype[Any]) -> np.dtype[Any]:
    """Return the pixel type that the camera reports: areaDetector knows no other byte order or size."""
    native = recorded.newbyteorder("=")
    return native if native.name in PIXEL_TYPES else np.dtype(np.float32)
