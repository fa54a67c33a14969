"""Division by the beam."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tomoservice.recipe.stages.base import Integer, Number, StageModel, plain_number, unit
from tomoservice.recipe.stages.frames import Index, Range

Positive = Annotated[Number, Field(gt=0)]
# The limit stands inside, where the schema of an optional number has it.
OptionalPositive = Annotated[float, Field(gt=0), BeforeValidator(plain_number)]


class NoNormalisation(StageModel):
    """The beam is as bright as in the flats, all the time."""

    method: Literal["none"] = "none"


class BorderNormalisation(StageModel):
    """Bring the pixels at both ends of every detector row to the brightness of the beam.

    For a sample with air on both sides. Follows a beam whose brightness changes across the detector too.
    """

    method: Literal["border"] = "border"
    columns: Integer = Field(10, ge=1, title="Columns of air", json_schema_extra=unit("pixel"))
    """Columns at either end of the selection that the sample never covers."""


class RegionNormalisation(StageModel):
    """Bring a part of the detector that the sample never covers to the brightness of the beam."""

    method: Literal["region"] = "region"
    rows: Range = Field(title="Rows of air")
    """Detector rows of the region, in the full frame."""
    columns: Range = Field(title="Columns of air")
    """Detector columns of the region, in the full frame."""


class MonitorNormalisation(StageModel):
    """Divide by the readings of a beam monitor."""

    method: Literal["monitor"] = "monitor"
    values: tuple[Positive, ...] | None = Field(None, min_length=1, title="Readings")
    """The monitor's reading at every projection of the scan, in the order of acquisition, in any unit; null
    takes those that the scan holds."""
    flat_value: OptionalPositive | None = Field(None, title="Reading at the flats")
    """Its mean reading while the flats were taken, in the same unit; null takes the readings that the scan
    holds."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> MonitorNormalisation:
        if self.values is not None and self.flat_value is None:
            raise ValueError("flat_value must be given with values: the scan's own may be in another unit")
        return self


Normalisation = Annotated[
    NoNormalisation | BorderNormalisation | RegionNormalisation | MonitorNormalisation,
    Field(discriminator="method"),
]


class _Divided(StageModel):
    missing_darks: Literal["error", "ignore"] = Field("ignore", title="Without darks")
    """What to do with a scan that has no darks: stop with an error, or take the dark level to be 0."""
    bad_frames: Literal["leave_out", "keep"] = Field("leave_out", title="Bad flats and darks")
    """What to do with flats and darks that differ from the others (shutter closed, sample in the beam,
    saturated, lost): leave them out, with a note, or use them all."""
    exclude_flats: tuple[Index, ...] = Field((), title="Excluded flats", json_schema_extra=unit("flat"))
    """Numbers of flats that are left out in any case, counted from 0 in the order of acquisition."""
    exclude_darks: tuple[Index, ...] = Field((), title="Excluded darks", json_schema_extra=unit("dark"))
    """Numbers of darks that are left out in any case, counted from 0 in the order of acquisition."""
    bad_pixels: Literal["bridge", "keep"] = Field("bridge", title="Hot and noisy pixels")
    """What to do with pixels that are hot, saturated or very noisy: interpolate from their neighbours in the
    detector row, as is always done with dead ones, or use what they recorded."""
    normalisation: Normalisation = Field(default_factory=NoNormalisation, title="Brightness of the beam")
    """How to follow a beam whose brightness changes during the scan."""
    double_flat_field: Number | None = Field(
        None, gt=0, le=500, title="Double flat field", json_schema_extra=unit("pixel")
    )
    """Remove from all projections what they have in common and is finer than a Gaussian of this standard
    deviation: a pattern that stands still while the sample turns, and makes rings. Null leaves it."""


class StandardFlatField(_Divided):
    """Divide by the flat field: (projection - dark) / (flat - dark)."""

    method: Literal["standard"] = "standard"
    combine: Literal["mean", "median"] = Field("mean", title="Combine frames by")
    """How the flats, and the darks, are reduced to one frame. The median withstands single bad frames."""
    interpolation: Literal["none", "linear", "nearest"] = Field("none", title="Flats over time")
    """Which flats a projection is divided by: all together; those before and after it in proportion to their
    nearness; or the nearest."""
    flat_positions: tuple[Number, ...] | None = Field(
        None, min_length=1, title="Flats taken at", json_schema_extra=unit("projection")
    )
    """Before which projections the flats were taken, in equal groups and ascending (0 is before the first);
    null takes it from the order of acquisition, where the scan tells it. Used for flats over time only."""
    missing_flats: Literal["error", "ignore"] = Field("error", title="Without flats")
    """What to do with a scan that has no flats: stop with an error, or take the beam to be uniform and as
    bright as the brightest part of the projections."""
    open_beam: OptionalPositive | None = Field(None, title="Open beam", json_schema_extra=unit("count"))
    """Counts of the open beam, dark level included, for a scan without flats; null takes the brightest
    percent of a few projections."""

    @field_validator("flat_positions")
    @classmethod
    def _ascending(cls, positions: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if positions is not None and any(not low < high for low, high in pairwise(positions)):
            raise ValueError(f"the positions must ascend, got {list(positions)}")
        return positions


class DynamicFlatField(_Divided):
    """Divide by a beam fitted to each projection, from how the flats differ (Van Nieuwenhove 2015).

    For a beam with a pattern that moves. Needs many flats (20 or more); overall brightness is left to the
    normalisation.
    """

    method: Literal["dynamic"] = "dynamic"
    components: Integer | None = Field(None, ge=1, le=20, title="Components")
    """How many principal components of the flats to fit; null takes those that stand out from noise."""
    smoothing: Number = Field(1.0, ge=0, le=50, title="Smoothing", json_schema_extra=unit("pixel"))
    """Standard deviation of the Gaussian that takes the noise out of the components; 0 for none."""
    downsampling: Integer = Field(4, ge=1, le=32, title="Downsampling", json_schema_extra=unit("pixel"))
    """Pixels averaged along rows and columns before the fit: more is faster, and blind to finer patterns."""


class NoFlatField(StageModel):
    """The projections are transmissions (or line integrals) already."""

    method: Literal["none"] = "none"


FlatField = Annotated[StandardFlatField | DynamicFlatField | NoFlatField, Field(discriminator="method")]
