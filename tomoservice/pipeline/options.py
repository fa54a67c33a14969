"""A recipe's reconstruction stage in the engine's terms."""

from __future__ import annotations

from tomoservice.recipe.stages.reconstruction import Reconstruction
from tomoservice.recon import FilterName, Padding, ReconstructionOptions
from tomoservice.recon.base import SliceOptions


def slice_options(stage: Reconstruction, size: int) -> SliceOptions:
    """Return what the method of `stage` is to be asked for.

    Parameters
    ----------
    stage
        Resolved: half-acquisition is on or off.
    size
        Edge of a slice in pixels.
    """
    return ReconstructionOptions(
        size=size,
        filter_name=FilterName(stage.filter),
        filter_cutoff=stage.filter_cutoff,
        butterworth_order=stage.filter_order,
        padding=Padding(stage.padding),
        mask_circle=stage.circular_mask,
    )
