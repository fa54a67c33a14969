"""The form of the result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tomoservice.recipe.stages.base import StageModel


class Output(StageModel):
    """The form of the result."""

    units: Literal["per_pixel", "per_cm"] = Field("per_pixel", title="Units")
    """Grey values as linear attenuation per (binned) pixel, or per cm (needs the pixel size)."""
