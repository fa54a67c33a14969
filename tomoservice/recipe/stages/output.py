"""The form of the result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tomoservice.recipe.stages.base import Number, StageModel, unit
from tomoservice.recipe.stages.frames import Range


class _Ends(StageModel):
    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> _Ends:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        return self


class PercentileRange(_Ends):
    """The range of stored grey values is taken from a few slices."""

    method: Literal["percentile"] = "percentile"
    low: Number = Field(0.01, ge=0, le=100, title="Low", json_schema_extra=unit("%"))
    """So many percent of the pixels lie below the range; they are set to its lower end."""
    high: Number = Field(99.99, ge=0, le=100, title="High", json_schema_extra=unit("%"))
    """So many percent of the pixels lie below the upper end of the range; those above are set to it."""


class FixedRange(_Ends):
    """The range of stored grey values is given, so that volumes can be compared."""

    method: Literal["fixed"] = "fixed"
    low: Number = Field(title="Low")
    """Grey value, in the units of the output, that is stored as 0."""
    high: Number = Field(title="High")
    """Grey value, in the units of the output, that is stored as the largest number of the type."""


GreyRange = Annotated[PercentileRange | FixedRange, Field(discriminator="method")]


class Crop(StageModel):
    """The part of each slice that is kept."""

    rows: Range = Field(default_factory=Range, title="Rows")
    """Rows of a slice, from the top (+y)."""
    columns: Range = Field(default_factory=Range, title="Columns")
    """Columns of a slice, from the left (-x)."""


class Output(StageModel):
    """The form of the result."""

    units: Literal["per_pixel", "per_cm"] = Field("per_pixel", title="Units")
    """Grey values as linear attenuation per (binned) pixel, or per cm (needs the pixel size)."""
    crop: Crop = Field(default_factory=Crop, title="Crop")
    """What is kept of each slice; the whole by default."""
    dtype: Literal["float32", "uint16", "uint8"] = Field("float32", title="Data type")
    """How a grey value is stored: as it is, or as a whole number of 16 or 8 bits, for which
    value = slope × number + offset is recorded with the volume."""
    range: GreyRange = Field(default_factory=PercentileRange, title="Range")
    """Which grey values the whole numbers stand for; not used for float32."""
