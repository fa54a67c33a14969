"""ASTRA's forward and back-projection: on a CUDA device, and on the processor as an independent check.

The axis is exact, wherever on the detector it lies and whatever fraction of a column it has: it stands in
the geometry (ASTRA's "parallel_vec"), nothing is resampled (van Aarle et al. 2016, DOI 10.1364/OE.24.025129).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.devices import Obstacle
from tomoservice.errors import EngineError
from tomoservice.recon.iterative.projector import SliceGeometry

# On a processor ASTRA takes 4 to 6 ns for a pixel and a projection, and hears nothing meanwhile.
UPDATES_PER_CALL = 30_000_000
# A device is some thousand times as fast, and is given slice and projections anew at each call.
UPDATES_PER_CALL_ON_DEVICE = 1000 * UPDATES_PER_CALL


class Device(StrEnum):
    """What projects."""

    CPU = "cpu"
    CUDA = "cuda"


@cache
def astra_obstacle(index: int = 0) -> Obstacle | None:
    """Return why ASTRA cannot project on a CUDA device, or None if it can.

    ASTRA makes a projector for a device that is not there without complaint, and fails when it runs: so one
    very small projection is made, once in a process.
    """
    import astra

    # What ASTRA would print of the failure, the log says.
    astra.log.disableScreen()
    try:
        geometry = SliceGeometry(np.zeros(1), 2, 2, 0.5)
        with AstraProjector(geometry, device=Device.CUDA, device_index=index) as projector:
            projector.forward(np.ones((2, 2), np.float32), np.empty((1, 2), np.float32))
    except (EngineError, astra.log.AstraError) as error:
        return Obstacle(str(error))
    finally:
        astra.log.enableScreen()
    return None


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring projections that one call of ASTRA handles."""

    rows: slice
    geometry: dict[str, Any]
    projector: int


class AstraProjector:
    """ASTRA as a `ParallelProjector2D`; on a CUDA device `back` is the adjoint up to interpolation.

    Parameters
    ----------
    geometry : SliceGeometry
        Angles, detector, slice and axis.
    device : Device
        What computes.
    device_index : int, default 0
        Which CUDA device.
    groups : sequence of int, optional
        Where groups of neighbouring projections begin, for methods that take them by turns; by default they
        are all one group.
    between : callable, optional
        Called before each piece; what it raises ends the projection.
    """

    def __init__(
        self,
        geometry: SliceGeometry,
        *,
        device: Device = Device.CPU,
        device_index: int = 0,
        groups: Sequence[int] = (0,),
        between: Callable[[], None] | None = None,
    ) -> None:
        import astra

        size = geometry.size
        self._geometry, self._device, self._between = geometry, device, between
        if device is Device.CUDA and device_index:
            # ASTRA keeps it for the process, which computes on one device only.
            astra.set_gpu_index(device_index)
        self._volume = astra.create_vol_geom(size, size)
        self._part = np.empty((size, size), np.float32)
        edges = [*groups, len(geometry.angles)]
        with ExitStack() as owned:
            self._groups = [self._blocks(start, stop, owned) for start, stop in pairwise(edges)]
            self._owned = owned.pop_all()

    def __enter__(self) -> AstraProjector:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete ASTRA's objects, which it keeps in tables of the process."""
        self._owned.close()

    def _blocks(self, start: int, stop: int, owned: ExitStack) -> list[_Block]:
        import astra

        cuda = self._device is Device.CUDA
        updates = UPDATES_PER_CALL_ON_DEVICE if cuda else UPDATES_PER_CALL
        length = max(1, updates // self._geometry.size**2)
        vectors = _vectors(self._geometry)
        kind = "cuda" if cuda else "linear"
        blocks = []
        for first in range(start, stop, length):
            rows = slice(first, min(first + length, stop))
            geometry = astra.create_proj_geom("parallel_vec", self._geometry.columns, vectors[rows])
            projector = astra.create_projector(kind, geometry, self._volume)
            owned.callback(astra.projector.delete, projector)
            blocks.append(_Block(rows, geometry, projector))
        return blocks

    @property
    def groups(self) -> range:
        """Numbers of the groups."""
        return range(len(self._groups))

    def rows(self, group: int) -> slice:
        """Return the part of the sinogram that a group of projections covers."""
        blocks = self._groups[group]
        return slice(blocks[0].rows.start, blocks[-1].rows.stop)

    def forward(self, image: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Project a slice; see `ParallelProjector2D.forward`."""
        for block in self._wanted(group):
            self._run("FP", block, image, out[block.rows])

    def back(self, sinogram: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Back-project a sinogram; see `ParallelProjector2D.back`."""
        for number, block in enumerate(self._wanted(group)):
            self._run("BP", block, self._part if number else out, sinogram[block.rows])
            if number:
                out += self._part

    def _wanted(self, group: int | None) -> list[_Block]:
        return [b for blocks in (self._groups if group is None else [self._groups[group]]) for b in blocks]

    def _run(
        self, kind: str, block: _Block, image: NDArray[np.float32], sinogram: NDArray[np.float32]
    ) -> None:
        import astra

        if self._between is not None:
            self._between()
        config = astra.astra_dict(kind + ("_CUDA" if self._device is Device.CUDA else ""))
        with (
            _linked("-vol", self._volume, image) as volume,
            _linked("-sino", block.geometry, sinogram) as data,
        ):
            config |= {"ProjectorId": block.projector, "ProjectionDataId": data}
            config["VolumeDataId" if kind == "FP" else "ReconstructionDataId"] = volume
            algorithm = astra.algorithm.create(config)
            try:
                astra.algorithm.run(algorithm)
            except astra.log.AstraError as error:
                reason = " ".join(str(error).split())
                way_out = "; the device 'cpu' does without" if self._device is Device.CUDA else ""
                raise EngineError(
                    f"ASTRA cannot project on the {self._device.value}: {reason}{way_out}"
                ) from error
            finally:
                astra.algorithm.delete(algorithm)


@contextmanager
def _linked(kind: str, geometry: dict[str, Any], array: NDArray[np.float32]) -> Iterator[int]:
    """Lend an array to ASTRA, without a copy."""
    import astra

    number = astra.data2d.link(kind, geometry, array)
    try:
        yield number
    finally:
        astra.data2d.delete(number)


def _vectors(geometry: SliceGeometry) -> NDArray[np.float64]:
    """Return the geometry in ASTRA's terms, (angle, 6): direction, centre of the detector, column."""
    # The centre of ASTRA's detector, seen from the axis along the detector.
    centre = (geometry.columns - 1) / 2 - geometry.axis
    cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
    return np.stack([sin, -cos, centre * cos, centre * sin, cos, sin], axis=1)
