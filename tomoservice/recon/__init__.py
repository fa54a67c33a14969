"""Reconstruction: sinograms -> slices, by interchangeable methods."""

from __future__ import annotations

from tomoservice.errors import EngineError
from tomoservice.recon.astra_fbp import AstraFbpReconstructor
from tomoservice.recon.base import (
    Padding,
    ReconstructionOptions,
    ReconstructionPlan,
    Reconstructor,
    reconstruct,
)
from tomoservice.recon.filters import FilterName
from tomoservice.recon.fourier import FourierReconstructor

__all__ = [
    "METHODS",
    "FilterName",
    "Padding",
    "ReconstructionOptions",
    "ReconstructionPlan",
    "Reconstructor",
    "get_reconstructor",
    "reconstruct",
]

METHODS: tuple[type[Reconstructor], ...] = (FourierReconstructor, AstraFbpReconstructor)


def get_reconstructor(method: str) -> Reconstructor:
    """Return the reconstruction method of that name.

    Parameters
    ----------
    method : str
        ``"fourier"`` or ``"astra_fbp"``.

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
