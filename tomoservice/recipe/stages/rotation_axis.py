"""Where the rotation axis is, or how it is found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tomoservice.recipe.stages.base import Number, StageModel, unit


class AxisValue(StageModel):
    """The rotation axis is known."""

    method: Literal["value"] = "value"
    value: Number = Field(title="Rotation axis", json_schema_extra=unit("pixel"))
    """Detector column of the rotation axis in the unbinned, uncropped frame, counted from 0; an integer is
    a pixel's centre. If the axis is tilted, its column in the middle row of the frame."""
    tilt_deg: Number = Field(0.0, ge=-10, le=10, title="Tilt of the axis", json_schema_extra=unit("degree"))
    """Angle between the rotation axis and the detector's columns; positive if the axis leans to the right
    going down, so that its column grows with the row number. 0 leaves every row as it is."""


class _AxisSearch(StageModel):
    search: tuple[Number, Number] | None = Field(None, title="Search window", json_schema_extra=unit("pixel"))
    """Columns of the full frame between which to search; null searches the middle half of the detector, or
    as much of it as the method can."""
    tilt: bool = Field(False, strict=True, title="Fit the tilt")
    """Search the axis at several heights as well, and fit a straight line to it: for an axis that is not
    parallel to the detector's columns. The reconstruction then corrects the tilt."""

    @model_validator(mode="after")
    def _ordered(self) -> _AxisSearch:
        if self.search is not None and self.search[0] >= self.search[1]:
            raise ValueError(f"the search window must go from low to high, got {list(self.search)}")
        return self


class AxisFourier(_AxisSearch):
    """Find the axis from the Fourier transform of a sinogram joined with its mirror image (Vo 2014)."""

    method: Literal["fourier"] = "fourier"


class AxisPhaseCorrelation(_AxisSearch):
    """Find the axis by registering the projection at 180 degrees, mirrored, to the one at 0."""

    method: Literal["phase_correlation"] = "phase_correlation"


class AxisEntropy(_AxisSearch):
    """Find the axis for which the grey values of slices spread least (Donath 2006); slow, but
    independent of the other methods. Wants views all around half a turn and a sample that fits into the field
    of view."""

    method: Literal["entropy"] = "entropy"


class AxisOverlap(_AxisSearch):
    """Find the axis of a scan over a whole turn from what opposite views both see (Vo 2021); for an axis
    near one side of the detector (half-acquisition), and for any other."""

    method: Literal["overlap"] = "overlap"


class AxisAuto(_AxisSearch):
    """Find the axis by every method that the scan allows, and take the most trustworthy."""

    method: Literal["auto"] = "auto"


RotationAxis = Annotated[
    AxisValue | AxisFourier | AxisPhaseCorrelation | AxisEntropy | AxisOverlap | AxisAuto,
    Field(discriminator="method"),
]
