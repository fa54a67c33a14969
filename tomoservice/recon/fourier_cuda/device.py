"""What the Fourier method keeps on a device, and the kernels that it runs there, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda.machine import DeviceArray, Machine, blocks_of, number
from tomoservice.recon.fourier.geometry import LARGEST, FilterTables, GridTables
from tomoservice.recon.fourier.group import GroupNumbers
from tomoservice.recon.fourier_cuda.batches import Batch
from tomoservice.recon.fourier_cuda.lines import Lines, sorted_lines

FLOAT, COMPLEX = 4, 8
ROW_THREADS, CELL_THREADS = (128, 1, 1), (16, 16, 1)


@cache
def kernel_source() -> str:
    """Return the text of ``kernels.cu``."""
    return resources.files("tomoservice.recon.fourier_cuda").joinpath("kernels.cu").read_text("utf-8")


@dataclass(frozen=True)
class Tables:
    """Geometry on the device; see `FilterTables`, `GridTables`, `Lines`."""

    samples: int
    reach: int
    length: int
    coarse: DeviceArray
    fine: DeviceArray
    spreading: DeviceArray
    correction: DeviceArray
    limits: DeviceArray
    lines: Lines

    @classmethod
    def of(cls, machine: Machine, filtering: FilterTables, grid: GridTables) -> Tables:
        """Bring tables to a device."""
        return cls(
            samples=grid.samples,
            reach=grid.reach,
            length=grid.length,
            coarse=machine.to_device(filtering.coarse),
            fine=machine.to_device(filtering.fine),
            spreading=machine.to_device(grid.table),
            correction=machine.to_device(grid.correction),
            limits=machine.to_device(grid.limits.astype(np.int32)),
            lines=Lines(*(machine.to_device(part) for part in sorted_lines(grid))),
        )


@dataclass(frozen=True)
class Numbers:
    """What the axes of a group make of the filter, on the device; None for what plays no part."""

    response: DeviceArray
    terms: DeviceArray | None
    shifts: DeviceArray | None
    weights: DeviceArray | None

    @classmethod
    def of(cls, machine: Machine, numbers: GroupNumbers) -> Numbers:
        """Bring the numbers of a group to a device."""

        def brought(array: NDArray[np.float32]) -> DeviceArray | None:
            return machine.to_device(array) if array.size else None

        return cls(
            response=machine.to_device(numbers.factor.T),
            terms=brought(numbers.edges),
            shifts=brought(numbers.shifts),
            weights=brought(numbers.weights),
        )


def space_bytes(pairs: int, angles: int, samples: int, length: int) -> int:
    """Return the bytes of `Space`, and of what cuFFT takes beside it."""
    polar, larger = angles * samples, max(angles * samples, length**2)
    return COMPLEX * pairs * (polar + 2 * larger + 2 * angles)


class Space:
    """Working space for so many pairs at once.

    Parameters
    ----------
    machine
        The device.
    pairs, angles, samples, length
        Pairs of slices, projections, samples of each, edge of the fine grid.
    """

    def __init__(self, machine: Machine, pairs: int, angles: int, samples: int, length: int) -> None:
        self.sizes = (pairs, angles, samples, length)
        spectra, grid = (pairs, angles, samples), (pairs, length, length)
        # Spectra are gone when the grid is filled.
        shared = machine.empty((max(pairs * angles * samples, pairs * length**2),), np.complex64)
        self.spectra = shared[: pairs * angles * samples].reshape(spectra)
        self.grid = shared[: pairs * length**2].reshape(grid)
        self.polar = machine.empty((angles, samples, pairs), np.complex64)
        self.edges = machine.empty((pairs, angles, 2), np.complex64)


def make_slices(
    machine: Machine,
    space: Space,
    batch: Batch,
    constants: tuple[Tables, Numbers],
    arrays: tuple[DeviceArray, DeviceArray, DeviceArray],
) -> None:
    """Reconstruct a batch, on the current stream.

    Parameters
    ----------
    machine
        The device.
    space
        For as many pairs as the batch has.
    batch
        Which slices.
    constants
        Geometry and filter.
    arrays
        Sinograms (part x pair, angle, column) and slices (part x pair, N, N), float32; and (row,) int32, made
        1 where a row of the slab holds a value that is not finite, or too large.
    """
    tables, numbers = constants
    sinograms, slices, bad = arrays
    pairs, angles, samples, length = space.sizes
    columns, size = sinograms.shape[2], slices.shape[2]
    kernels = machine.kernels(kernel_source(), {"PAIRS": pairs})
    integers = {"angles": angles, "columns": columns, "samples": samples, "length": length, "size": size}
    n = {name: number(value) for name, value in integers.items()}
    first_pair, present = number(batch.first_pair), number(batch.present)

    def launch(name: str, work: tuple[int, int, int], threads: tuple[int, int, int], *arguments: Any) -> None:
        kernels.launch(name, blocks_of(work, threads), threads, list(arguments))

    launch(
        "pack_projections",
        (samples, angles, pairs),
        ROW_THREADS,
        *(sinograms, numbers.weights, present, first_pair, number(batch.first_row)),
        *(n["angles"], n["columns"], n["samples"], number(LARGEST, np.float32)),
        *(space.spectra, space.edges, bad),
    )
    machine.transform(space.spectra, 1)
    launch(
        "respond",
        (samples * pairs, angles, 1),
        ROW_THREADS,
        *(space.spectra, space.edges, tables.coarse, tables.fine),
        *(numbers.response, numbers.terms, numbers.shifts, first_pair),
        *(n["angles"], n["samples"], space.polar),
    )
    lines = tables.lines
    launch(
        "gather_cells",
        (length, length, 1),
        CELL_THREADS,
        *(space.polar, *lines, number(len(lines.angle)), number(len(lines.first) - 1)),
        *(tables.spreading, n["samples"], number(tables.reach), n["length"], space.grid),
    )
    machine.transform(space.grid, 2)
    launch(
        "make_slices",
        (size, size, pairs),
        CELL_THREADS,
        *(space.grid, tables.correction, tables.limits, present, n["size"], n["length"], slices),
    )
