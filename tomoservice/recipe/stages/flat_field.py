"""Division by the beam."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import StageModel


class StandardFlatField(StageModel):
    """Divide by the flat field: (projection - dark) / (flat - dark)."""

    method: Literal["standard"] = "standard"
    combine: Literal["mean", "median"] = Field("mean", title="Combine frames by")
    """How the flats, and the darks, are reduced to one frame. The median withstands single bad frames."""
    missing_flats: Literal["error", "ignore"] = Field("error", title="Without flats")
    """What to do with a scan that has no flats: stop with an error, or take the beam to be uniform and as
    bright as the brightest part of the projections."""
    missing_darks: Literal["error", "ignore"] = Field("ignore", title="Without darks")
    """What to do with a scan that has no darks: stop with an error, or take the dark level to be 0."""


class NoFlatField(StageModel):
    """The projections are transmissions (or line integrals) already."""

    method: Literal["none"] = "none"


FlatField = Annotated[StandardFlatField | NoFlatField, Field(discriminator="method")]
