"""Removal of what the sample did not cause: zingers, stuck pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import Number, StageModel


class NoOutliers(StageModel):
    """No removal of outliers."""

    method: Literal["none"] = "none"


class StuckPixels(StageModel):
    """Interpolate pixels that hardly change during the scan, or change wildly, from their neighbours."""

    method: Literal["stuck_pixels"] = "stuck_pixels"


class Zingers(StageModel):
    """Replace values that stand out from the median of their neighbours by that median."""

    method: Literal["zingers"] = "zingers"
    dimension: Literal["frame", "angle", "both"] = Field("frame", title="Look along")
    """Where a value's neighbours are: around it in the same projection; at the same pixel in the projections
    before and after, which also finds what fills many pixels; or first the one, then the other."""
    threshold: Number = Field(8.0, gt=0, title="Threshold")
    """Distance from the median above which a value is replaced."""
    threshold_unit: Literal["noise", "transmission"] = Field("noise", title="Unit of the threshold")
    """What the threshold counts: standard deviations of the noise around the value, or transmission (1 is the
    open beam)."""
    size: Literal[3, 5] = Field(3, title="Neighbours")
    """Pixels, or angles, along each axis of the window. A zinger that fills more than half of the window
    stays."""
    kind: Literal["bright", "dark", "both"] = Field("bright", title="Kind")
    """Replace values that are too bright, as X-rays that hit the camera make them, too dark, or both."""
    stuck_pixels: bool = Field(False, strict=True, title="Stuck pixels")
    """First interpolate pixels that hardly change during the scan, or wildly, from their neighbours."""


Outliers = Annotated[NoOutliers | StuckPixels | Zingers, Field(discriminator="method")]
