"""Correction for a beam of many energies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import Number, StageModel


class NoBeamHardening(StageModel):
    """The beam is monochromatic, or the sample absorbs weakly."""

    method: Literal["none"] = "none"


class PolynomialBeamHardening(StageModel):
    """Replace each line integral p by c1 p + c2 p² + c3 p³ + ..., which takes the cup out of grey values."""

    method: Literal["polynomial"] = "polynomial"
    coefficients: tuple[Number, ...] = Field((1.0,), min_length=1, max_length=8, title="Coefficients")
    """c1, c2, c3 and so on; there is no constant, so that air stays 0. With c1 = 1 thin parts of the sample
    keep their grey value; positive further ones raise thick parts."""


BeamHardening = Annotated[NoBeamHardening | PolynomialBeamHardening, Field(discriminator="method")]
