"""The iterative methods by name."""

from __future__ import annotations

from numpy.typing import ArrayLike

from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import EngineError
from tomoservice.recon.base import (
    RowsAlone,
    SliceOptions,
    checked_angles,
    checked_options,
)
from tomoservice.recon.iterative import solvers
from tomoservice.recon.iterative.options import IterativeOptions
from tomoservice.recon.iterative.plan import IterativePlan, Method
from tomoservice.recon.iterative.problem import greatest_eigenvalue, line_and_pixel_sums, no_sums


class _IterativeReconstructor(RowsAlone):
    """What the iterative methods share.

    Parameters
    ----------
    device : DeviceChoice, default the CPU
        What projects; one that `tomoservice.recon.place` has found to answer.
    """

    row_group = 1
    _method: Method

    def __init__(self, device: DeviceChoice = CPU) -> None:
        self._device = device

    @property
    def name(self) -> str:
        """Name by which recipes ask for the method."""
        return self._method.name

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> IterativePlan:
        """Prepare a set of angles; see `Reconstructor.plan`."""
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, IterativeOptions, self.name)
        self._check(chosen)
        return IterativePlan(self._method, angles, columns, chosen, threads=threads, device=self._device)

    def _check(self, options: IterativeOptions) -> None:
        """Refuse what the method cannot do."""

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of the working space: some images and sinograms for each thread."""
        image, sinogram = 4 * (size or columns) ** 2, 4 * angles * columns
        working = self._method.images * image + self._method.sinograms * sinogram
        shared = 3 * image + 2 * sinogram
        return shared + threads * working


class SirtReconstructor(_IterativeReconstructor):
    """Simultaneous iterative reconstruction: slow, robust, limits to the grey values."""

    _method = Method("sirt", solvers.sirt, line_and_pixel_sums, images=7, sinograms=4)


class CglsReconstructor(_IterativeReconstructor):
    """Conjugate gradients for least squares: few iterations, no limits to the grey values."""

    _method = Method("cgls", solvers.cgls, no_sums, images=9 + solvers.KEPT_GRADIENTS, sinograms=5)

    def _check(self, options: IterativeOptions) -> None:
        if options.minimum is not None or options.maximum is not None:
            limits = f"minimum {options.minimum}, maximum {options.maximum}"
            raise EngineError(f"cgls knows no limits to the grey values, got {limits}; sirt, sart and tv do")


class SartReconstructor(_IterativeReconstructor):
    """Groups of projections that correct by turns: fewer iterations than SIRT, more noise."""

    _method = Method("sart", solvers.sart, line_and_pixel_sums, images=7, sinograms=5, by_turns=True)


class EmReconstructor(_IterativeReconstructor):
    """Expectation maximisation: slices that are nowhere negative."""

    _method = Method("em", solvers.em, line_and_pixel_sums, images=8, sinograms=8)

    def _check(self, options: IterativeOptions) -> None:
        if options.minimum is not None and options.minimum < 0:
            raise EngineError(f"em makes nothing negative, got minimum {options.minimum:g}; leave it out")


class TvReconstructor(_IterativeReconstructor):
    """Least squares with a price on total variation: for few or noisy projections of uniform parts."""

    _method = Method("tv", solvers.tv, greatest_eigenvalue, images=21, sinograms=7)


ITERATIVE = (SirtReconstructor, CglsReconstructor, SartReconstructor, EmReconstructor, TvReconstructor)
"""All of them."""
