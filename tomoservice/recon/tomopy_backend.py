"""TomoPy's algorithms, where TomoPy is installed (Gürsoy et al. 2014, DOI 10.1107/S1600577514013939).

TomoPy's conventions end in this module. Its iterative algorithms count the axis from the edge of the first
detector column, so half a pixel is added. Its gridrec counts from the middle of the column, but puts the axis
at column n/2 and row n/2 - 1 of a slice with n columns: it is given projections moved so far that the axis is
in the middle of the part that is cut out of a larger slice. That gives the filter room, too, without which
grey values would be wrong by tens of percents.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from tomoservice.errors import EngineError
from tomoservice.recon.base import (
    Slab,
    SliceOptions,
    checked_angles,
    checked_options,
    circle_mask,
)
from tomoservice.recon.filters import FilterName
from tomoservice.recon.half_acquisition import check_whole_turn, overlap_weights
from tomoservice.threads import available_threads

FILTERS = {FilterName.RAMP: "ramlak", FilterName.SHEPP_LOGAN: "shepp"}
BLOCKS = 10
# Gridrec takes two rows at once, as real and imaginary part.
ROW_GROUP = 2


class TomopyAlgorithm(StrEnum):
    """Those of TomoPy's algorithms whose slices are right: others are not scaled, or misplaced."""

    GRIDREC = "gridrec"
    SIRT = "sirt"
    BART = "bart"
    MLEM = "mlem"
    TV = "tv"
    GRAD = "grad"


@dataclass(frozen=True, kw_only=True)
class TomopyOptions(SliceOptions):
    """Options of TomoPy's algorithms.

    Parameters
    ----------
    algorithm
        Which.
    iterations
        Of the iterative ones; at least 1.
    filter_name
        Window on the ramp filter, for gridrec.
    weight
        TomoPy's ``reg_par``, for its tv.
    half_acquisition
        Whether gridrec must fade the two halves of a whole turn into one another; the iterative algorithms
        make no difference.
    """

    algorithm: TomopyAlgorithm = TomopyAlgorithm.GRIDREC
    iterations: int = 50
    filter_name: FilterName = FilterName.RAMP
    weight: float = 1e-3
    half_acquisition: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise EngineError(f"iterations must be at least 1, got {self.iterations}")
        if not 0 <= self.weight < float("inf"):
            raise EngineError(f"weight must be finite and not negative, got {self.weight:g}")


class TomopyReconstructor:
    """TomoPy's algorithms, where TomoPy is installed."""

    name = "tomopy"
    row_group = ROW_GROUP

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> TomopyPlan:
        """Prepare a set of angles; see `Reconstructor.plan`.

        Raises
        ------
        EngineError
            If TomoPy is not installed.
        """
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, TomopyOptions, self.name)
        if chosen.half_acquisition:
            check_whole_turn(angles)
        try:
            import tomopy  # noqa: F401
        except ImportError as error:
            raise EngineError(
                f"the reconstruction method tomopy needs TomoPy ({error}), which exists on conda-forge only: "
                "conda install -c conda-forge tomopy; fourier, sirt and em need nothing more"
            ) from error
        return TomopyPlan(angles, columns, chosen, threads or available_threads())

    def memory_per_row(self, angles: int, columns: int, size: int | None = None) -> int:
        """Estimate the bytes that each row of a slab takes: TomoPy works on copies, gridrec on wider ones."""
        wide = 2 * max(columns, size or columns)
        return 4 * (6 * angles * wide + wide**2)

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of the working space: some slices and sinograms for each thread."""
        wide = 2 * max(columns, size or columns)
        return threads * 4 * 4 * (wide**2 + angles * wide)


class TomopyPlan:
    """`TomopyReconstructor` prepared for a set of angles and a detector width.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns N.
    options : TomopyOptions
        Algorithm and its parameters.
    threads : int
        Slices worked on at once.
    """

    def __init__(
        self, angles: NDArray[np.float64], columns: int, options: TomopyOptions, threads: int
    ) -> None:
        self._angles, self._columns, self._options, self._threads = angles, columns, options, threads
        self._size = options.size or columns
        self._outside = ~circle_mask(self._size) if options.mask_circle else None

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`.

        Raises
        ------
        EngineError
            If a slice comes out with values that are not finite, as some algorithms make of lines that miss
            the slice.
        """
        shape = (len(self._angles), self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        data = [slab.sinogram(row) for row in range(len(slab.sinograms))]
        if not data:
            return slab.out
        if self._options.algorithm is TomopyAlgorithm.GRIDREC:
            # Rows are paired by their place in the whole scan, with nothing where a pair is cut.
            pairs = [(first_row % 2, (first_row + len(data)) % 2)]
            padded = np.pad(np.stack(data), [*pairs, (0, 0), (0, 0)])
            slices = self._gridrec(padded, np.pad(slab.axes, pairs, mode="edge"))
            slab.out[:] = slices[first_row % 2 :][: len(data)]
        else:
            slab.out[:] = self._iterate(np.stack(data), slab.axes)
        if self._outside is not None:
            slab.out[:, self._outside] = 0
        finite = np.isfinite(slab.out).all(axis=(1, 2))
        if not finite.all():
            row = first_row + int(np.argmin(finite))
            raise EngineError(
                f"TomoPy's {self._options.algorithm} made values that are not finite in the slice of row "
                f"{row}; use another algorithm, or slices as wide as the detector"
            )
        return slab.out

    def _gridrec(self, sinograms: NDArray[np.float32], axes: NDArray[np.float64]) -> NDArray[np.float32]:
        wide = 2 * fft.next_fast_len(max(self._columns, self._size), real=True)
        first = wide // 2 - (self._size - 1) // 2
        middle = first + (self._size - 1) / 2
        right, down = middle - wide / 2, middle - (wide / 2 - 1)
        move = right * np.cos(self._angles) - down * np.sin(self._angles)
        moves = wide // 2 - axes[:, None] + move
        if self._options.half_acquisition:
            weights = np.stack([overlap_weights(self._columns, axis) for axis in axes.tolist()])
            sinograms = sinograms * weights[:, None]
        spectrum = fft.rfft(sinograms, wide, axis=-1)
        spectrum *= np.exp(-2j * np.pi * moves[..., None] * np.arange(wide // 2 + 1) / wide)
        moved = fft.irfft(spectrum, wide, axis=-1).astype(np.float32)
        name = FILTERS.get(self._options.filter_name, self._options.filter_name.value)
        slices = self._recon(moved, np.full(len(axes), wide / 2), filter_name=name)
        kept = slice(first, first + self._size)
        return slices[:, kept, kept]

    def _iterate(self, sinograms: NDArray[np.float32], axes: NDArray[np.float64]) -> NDArray[np.float32]:
        parameters: dict[str, Any] = {"num_iter": self._options.iterations}
        parameters |= {"num_gridx": self._size, "num_gridy": self._size}
        match self._options.algorithm:
            case TomopyAlgorithm.TV:
                parameters["reg_par"] = self._options.weight
            case TomopyAlgorithm.GRAD:
                # A negative one has TomoPy choose the length of its steps.
                parameters["reg_par"] = -1
            case TomopyAlgorithm.BART:
                count = len(self._angles)
                parameters |= {"num_block": min(BLOCKS, count), "ind_block": np.arange(count)}
            case TomopyAlgorithm.MLEM:
                sinograms = np.maximum(sinograms, 0)
        return self._recon(sinograms, axes + 0.5, **parameters)

    def _recon(
        self, sinograms: NDArray[np.float32], centres: NDArray[np.float64], **parameters: Any
    ) -> NDArray[np.float32]:
        import tomopy

        result: NDArray[np.float32] = tomopy.recon(
            sinograms,
            self._angles,
            center=centres.astype(np.float32),
            sinogram_order=True,
            algorithm=self._options.algorithm.value,
            ncore=min(self._threads, -(-len(sinograms) // ROW_GROUP)),
            nchunk=ROW_GROUP,
            **parameters,
        )
        return result
