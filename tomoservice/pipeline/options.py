"""A recipe's reconstruction stage in the engine's terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.recipe.stages.reconstruction import AstraFbp, FinufftFbp, FourierFbp, Reconstruction, Tomopy
from tomoservice.recon import FilterName, Padding, ReconstructionOptions
from tomoservice.recon.base import SliceOptions
from tomoservice.recon.half_acquisition import check_whole_turn, default_size
from tomoservice.recon.iterative.options import Initial, IterativeOptions
from tomoservice.recon.tomopy_backend import TomopyAlgorithm, TomopyOptions

OFF_CENTRE = 0.05
"""An axis farther from the middle, as a fraction of the detector's width, was put there to see more."""
NOT_OPTIONS = frozenset({"method", "circular_mask", "half_acquisition", "initial", "initial_volume"})


def slice_options(stage: Reconstruction, size: int) -> SliceOptions:
    """Return what the method of `stage` is to be asked for.

    Parameters
    ----------
    stage
        Resolved: half-acquisition is on or off.
    size
        Edge of a slice in pixels.
    """
    half = stage.half_acquisition == "on"
    if isinstance(stage, FourierFbp | FinufftFbp | AstraFbp):
        return ReconstructionOptions(
            size=size,
            mask_circle=stage.circular_mask,
            half_acquisition=half,
            filter_name=FilterName(stage.filter),
            filter_cutoff=stage.filter_cutoff,
            butterworth_order=stage.filter_order,
            padding=Padding(stage.padding),
        )
    if isinstance(stage, Tomopy):
        return TomopyOptions(
            size=size,
            mask_circle=stage.circular_mask,
            half_acquisition=half,
            algorithm=TomopyAlgorithm(stage.algorithm),
            iterations=stage.iterations,
            filter_name=FilterName(stage.filter),
            weight=stage.weight,
        )
    # The fields of the iterative stages are named as the engine's options.
    return IterativeOptions(
        size=size,
        mask_circle=stage.circular_mask,
        half_acquisition=half,
        initial=Initial(stage.initial),
        **{name: value for name, value in stage.model_dump().items() if name not in NOT_OPTIONS},
    )


def is_half_acquisition(
    stage: Reconstruction, angles_deg: NDArray[np.float64], columns: int, axis: float
) -> bool:
    """Tell whether a scan is reconstructed as a half-acquisition.

    Parameters
    ----------
    stage
        As asked.
    angles_deg
        (angle,) in degrees.
    columns
        Detector columns.
    axis
        Detector column of the rotation axis.

    Raises
    ------
    GeometryError
        If the recipe asks for it and the scan is less than a whole turn.
    """
    if stage.half_acquisition == "off":
        return False
    try:
        check_whole_turn(np.deg2rad(angles_deg))
    except GeometryError:
        if stage.half_acquisition == "on":
            raise
        return False
    off_centre = abs(axis - (columns - 1) / 2) > OFF_CENTRE * columns
    return stage.half_acquisition == "on" or off_centre


def slice_size(columns: int, axis: float, *, half_acquisition: bool) -> int:
    """Return the edge of a slice in pixels."""
    return default_size(columns, axis) if half_acquisition else columns
