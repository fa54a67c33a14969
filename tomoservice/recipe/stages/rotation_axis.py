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
    a pixel's centre."""


class _AxisSearch(StageModel):
    search: tuple[Number, Number] | None = Field(None, title="Search window", json_schema_extra=unit("pixel"))
    """Columns of the full frame between which to search; null searches the middle of the detector."""

    @model_validator(mode="after")
    def _ordered(self) -> _AxisSearch:
        if self.search is not None and self.search[0] >= self.search[1]:
            raise ValueError(f"the search window must go from low to high, got {list(self.search)}")
        return self


class AxisFourier(_AxisSearch):
    """Find the axis from the Fourier transform of a sinogram joined with its mirror image (Vo 2014)."""

    method: Literal["fourier"] = "fourier"


class AxisPhaseCorrelation(StageModel):
    """Find the axis by registering the projection at 180 degrees, mirrored, to the one at 0."""

    method: Literal["phase_correlation"] = "phase_correlation"


class AxisAuto(_AxisSearch):
    """Find the axis by every method that the scan allows, and take the most trustworthy."""

    method: Literal["auto"] = "auto"


RotationAxis = Annotated[
    AxisValue | AxisFourier | AxisPhaseCorrelation | AxisAuto, Field(discriminator="method")
]
