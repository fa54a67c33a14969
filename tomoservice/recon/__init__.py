"""Reconstruction: sinograms -> slices, by interchangeable methods."""

from __future__ import annotations

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
from tomoservice.recon.iterative.methods import (
    CglsReconstructor,
    EmReconstructor,
    SartReconstructor,
    SirtReconstructor,
    TvReconstructor,
)
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
    "get_reconstructor",
    "preview",
    "reconstruct",
]

METHODS: tuple[type[Reconstructor], ...] = (
    FourierReconstructor,
    FinufftReconstructor,
    AstraFbpReconstructor,
    SirtReconstructor,
    CglsReconstructor,
    SartReconstructor,
    EmReconstructor,
    TvReconstructor,
    TomopyReconstructor,
)


def get_reconstructor(method: str) -> Reconstructor:
    """Return the reconstruction method of that name.

    Parameters
    ----------
    method : str
        As recipes call it: ``"fourier"``, ``"sirt"`` and so on.

    Returns
    -------
    Reconstructor
        The method; it holds no state, and loads its library when a plan is executed.

    Raises
    ------
    EngineError
        If there is no such method.
    """
    known = {reconstructor.name: reconstructor for reconstructor in (cls() for cls in METHODS)}
    if method not in known:
        msg = f"no reconstruction method {method!r}; there are {', '.join(sorted(known))}"
        raise EngineError(msg)
    return known[method]
