"""Reconstruction: sinograms -> slices, by interchangeable methods."""

from __future__ import annotations

from functools import partial

from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import EngineError
from tomoservice.recon.astra_fbp import AstraFbpReconstructor
from tomoservice.recon.base import (
    Padding,
    PreviewPlan,
    ReconstructionOptions,
    ReconstructionPlan,
    Reconstructor,
    SliceOptions,
    preview,
    reconstruct,
)
from tomoservice.recon.filters import FilterName
from tomoservice.recon.finufft_fbp import FinufftReconstructor
from tomoservice.recon.fourier import FourierReconstructor
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor
from tomoservice.recon.iterative.methods import ITERATIVE
from tomoservice.recon.placement import describe, place
from tomoservice.recon.tomopy_backend import TomopyReconstructor

__all__ = [
    "METHODS",
    "FilterName",
    "Padding",
    "PreviewPlan",
    "ReconstructionOptions",
    "ReconstructionPlan",
    "Reconstructor",
    "SliceOptions",
    "describe",
    "get_reconstructor",
    "place",
    "preview",
    "reconstruct",
]

METHODS: tuple[type[Reconstructor], ...] = (
    FourierReconstructor,
    FinufftReconstructor,
    AstraFbpReconstructor,
    *ITERATIVE,
    TomopyReconstructor,
)


def get_reconstructor(method: str, device: DeviceChoice = CPU) -> Reconstructor:
    """Return the reconstruction method of that name.

    Parameters
    ----------
    method : str
        As recipes call it: ``"fourier"``, ``"sirt"`` and so on.
    device : DeviceChoice, default the CPU
        Where it computes; `place` resolves ``auto``. Numbers of ``fourier`` agree to 1e-5 of the largest.

    Returns
    -------
    Reconstructor
        The method; it holds no state, and loads its library when a plan is executed.

    Raises
    ------
    EngineError
        If there is no such method.
    DeviceError
        If it cannot use that device.
    """
    known = {reconstructor.name: reconstructor for reconstructor in (cls() for cls in METHODS)}
    if method not in known:
        msg = f"no reconstruction method {method!r}; there are {', '.join(sorted(known))}"
        raise EngineError(msg)
    placed = place(method, device)
    if placed.kind == "cpu":
        return known[method]
    if method == FourierReconstructor.name:
        from tomoservice.cuda.cupy_machine import cupy_machine

        return FourierDeviceReconstructor(partial(cupy_machine, placed.index))
    return next(cls(placed) for cls in (AstraFbpReconstructor, *ITERATIVE) if cls().name == method)
