"""Iterative reconstruction: over our own projector on the processor, ASTRA's on a CUDA device."""

from tomoservice.recon.iterative.methods import (
    CglsReconstructor,
    EmReconstructor,
    SartReconstructor,
    SirtReconstructor,
    TvReconstructor,
)
from tomoservice.recon.iterative.options import Initial, IterationControl, IterativeOptions
from tomoservice.recon.iterative.plan import IterativePlan

__all__ = [
    "CglsReconstructor",
    "EmReconstructor",
    "Initial",
    "IterationControl",
    "IterativeOptions",
    "IterativePlan",
    "SartReconstructor",
    "SirtReconstructor",
    "TvReconstructor",
]
