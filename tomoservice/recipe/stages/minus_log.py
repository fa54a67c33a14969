"""From transmission to line integrals."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import Number, StageModel


class StandardMinusLog(StageModel):
    """Turn transmission into line integrals of attenuation: -log(transmission)."""

    method: Literal["standard"] = "standard"
    minimum_transmission: Number = Field(1e-4, gt=0, lt=1, title="Minimum transmission")
    """Transmissions below this are raised to it, so that a pixel without counts stays finite."""


class NoMinusLog(StageModel):
    """The projections are line integrals already."""

    method: Literal["none"] = "none"


MinusLog = Annotated[StandardMinusLog | NoMinusLog, Field(discriminator="method")]
