"""Which part of the scan is reconstructed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tomoservice.recipe.stages.base import End, Integer, StageModel, unit

Index = Annotated[Integer, Field(ge=0)]


class Range(StageModel):
    """A half-open range of indices, start included, stop not."""

    start: Integer = Field(0, ge=0, title="Start", json_schema_extra=unit("pixel"))
    """First index that is kept."""
    stop: End | None = Field(None, title="Stop", json_schema_extra=unit("pixel"))
    """First index that is no longer kept; null means up to the end."""

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop ({self.stop}) must be greater than start ({self.start})")
        return self


class AngleRange(Range):
    """A half-open range of projections, in the order of acquisition."""

    start: Integer = Field(0, ge=0, title="Start", json_schema_extra=unit("projection"))
    """First projection that is kept."""
    stop: End | None = Field(None, title="Stop", json_schema_extra=unit("projection"))
    """First projection that is no longer kept; null means up to the end."""
    step: Integer = Field(1, ge=1, title="Step", json_schema_extra=unit("projection"))
    """Keep every n-th projection."""


class Frames(StageModel):
    """Which part of the scan is reconstructed."""

    rows: Range = Field(default_factory=Range, title="Rows")
    """Detector rows; each becomes one slice of the volume."""
    columns: Range = Field(default_factory=Range, title="Columns")
    """Detector columns. The rotation axis keeps its column of the full frame."""
    angles: AngleRange = Field(default_factory=AngleRange, title="Projections")
    """Projections, in the order of acquisition."""
    exclude: tuple[Index, ...] = Field((), title="Excluded projections", json_schema_extra=unit("projection"))
    """Numbers of projections that are left out, counted from 0 in the order of acquisition: lost ones, or
    those in which the sample moved."""
    lost: Literal["leave_out", "error"] = Field("leave_out", title="Lost projections")
    """What to do with projections that are all zero, not finite or without beam: leave them out and say so
    (as long as they are few), or stop with an error."""
    binning: Integer = Field(1, ge=1, le=32, title="Binning", json_schema_extra=unit("pixel"))
    """Average so many rows and columns into one pixel after flat-field correction. Rows and columns that
    do not fill a binned pixel are left out at the end."""
