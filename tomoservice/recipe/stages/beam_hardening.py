"""Correction for a beam of many energies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tomoservice.recipe.stages.base import Number, StageModel

LARGEST = 1e30
"""Coefficients beyond this leave the range of float32."""


class NoBeamHardening(StageModel):
    """The beam is monochromatic, or the sample absorbs weakly."""

    method: Literal["none"] = "none"


class PolynomialBeamHardening(StageModel):
    """Replace each line integral p by c1 p + c2 p² + c3 p³ + ..., which takes the cup out of grey values."""

    method: Literal["polynomial"] = "polynomial"
    coefficients: tuple[Number, ...] = Field((1.0,), min_length=1, max_length=8, title="Coefficients")
    """c1, c2, c3 and so on; there is no constant, so that air stays 0. With c1 = 1 thin parts of the sample
    keep their grey value; positive further ones raise thick parts."""

    @field_validator("coefficients")
    @classmethod
    def _rising(cls, coefficients: tuple[float, ...]) -> tuple[float, ...]:
        too_large = next((value for value in coefficients if abs(value) > LARGEST), None)
        if too_large is not None:
            raise ValueError(f"got {too_large:g}, beyond what a number of 32 bits can hold ({LARGEST:g})")
        first = next((value for value in coefficients if value != 0), None)
        if first is None:
            raise ValueError("all are 0, which leaves nothing of the sample")
        if first < 0:
            raise ValueError(
                f"the first, {first:g}, is negative: more material would become less attenuation"
            )
        return coefficients


BeamHardening = Annotated[NoBeamHardening | PolynomialBeamHardening, Field(discriminator="method")]
