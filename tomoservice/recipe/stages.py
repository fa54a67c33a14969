"""The stages of a reconstruction, each a union of methods told apart by the key `method`.

Help texts, units and limits stand here once; the JSON schema, the forms made from it and the reference
page are generated.
"""

from __future__ import annotations

from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class StageModel(BaseModel):
    """Base of all stages: frozen, and no unknown key passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _number(value: object) -> object:
    # Pydantic would take True for 1 and "3" for 3. Whole floats and NumPy's numbers are numbers.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Integer = Annotated[int, BeforeValidator(_number)]
"""A whole number; neither a truth value nor a text."""
Number = Annotated[float, BeforeValidator(_number)]
"""A number; neither a truth value nor a text."""
# The limit stands inside, where the schema of an optional number has it.
End = Annotated[int, Field(ge=1), BeforeValidator(_number)]


def _unit(unit: str) -> dict[str, Any]:
    return {"unit": unit}


# ---------------------------------------------------------------------------------- frame selection


class Range(StageModel):
    """A half-open range of indices, start included, stop not."""

    start: Integer = Field(0, ge=0, title="Start", json_schema_extra=_unit("pixel"))
    """First index that is kept."""
    stop: End | None = Field(None, title="Stop", json_schema_extra=_unit("pixel"))
    """First index that is no longer kept; null means up to the end."""

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop ({self.stop}) must be greater than start ({self.start})")
        return self


class AngleRange(Range):
    """A half-open range of projections, in the order of acquisition."""

    start: Integer = Field(0, ge=0, title="Start", json_schema_extra=_unit("projection"))
    """First projection that is kept."""
    stop: End | None = Field(None, title="Stop", json_schema_extra=_unit("projection"))
    """First projection that is no longer kept; null means up to the end."""
    step: Integer = Field(1, ge=1, title="Step", json_schema_extra=_unit("projection"))
    """Keep every n-th projection."""


class Frames(StageModel):
    """Which part of the scan is reconstructed."""

    rows: Range = Field(default_factory=Range, title="Rows")
    """Detector rows; each becomes one slice of the volume."""
    columns: Range = Field(default_factory=Range, title="Columns")
    """Detector columns. The rotation axis keeps its column of the full frame."""
    angles: AngleRange = Field(default_factory=AngleRange, title="Projections")
    """Projections, in the order of acquisition."""
    binning: Integer = Field(1, ge=1, le=32, title="Binning", json_schema_extra=_unit("pixel"))
    """Average so many rows and columns into one pixel after flat-field correction. Rows and columns that
    do not fill a binned pixel are left out at the end."""


# ------------------------------------------------------------------------------ flat-field correction


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


# -------------------------------------------------------------------------------- stages of one method


class NoOutliers(StageModel):
    """No removal of outliers."""

    method: Literal["none"] = "none"


class NoStripes(StageModel):
    """No removal of stripes."""

    method: Literal["none"] = "none"


class NoPhase(StageModel):
    """No phase retrieval."""

    method: Literal["none"] = "none"


# ------------------------------------------------------------------------------------------ minus log


class StandardMinusLog(StageModel):
    """Turn transmission into line integrals of attenuation: -log(transmission)."""

    method: Literal["standard"] = "standard"
    minimum_transmission: Number = Field(1e-4, gt=0, lt=1, title="Minimum transmission")
    """Transmissions below this are raised to it, so that a pixel without counts stays finite."""


class NoMinusLog(StageModel):
    """The projections are line integrals already."""

    method: Literal["none"] = "none"


MinusLog = Annotated[StandardMinusLog | NoMinusLog, Field(discriminator="method")]


# -------------------------------------------------------------------------------------- rotation axis


class AxisValue(StageModel):
    """The rotation axis is known."""

    method: Literal["value"] = "value"
    value: Number = Field(title="Rotation axis", json_schema_extra=_unit("pixel"))
    """Detector column of the rotation axis in the unbinned, uncropped frame, counted from 0; an integer is
    a pixel's centre."""


class _AxisSearch(StageModel):
    search: tuple[Number, Number] | None = Field(
        None, title="Search window", json_schema_extra=_unit("pixel")
    )
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


# ------------------------------------------------------------------------------------- reconstruction

FilterName = Literal["ramp", "shepp-logan", "cosine", "hann", "hamming", "butterworth"]


class _Filtered(StageModel):
    filter: FilterName = Field("ramp", title="Filter")
    """Window on the ramp filter. The ramp keeps all detail and all noise; the others trade detail for
    smoothness."""
    filter_cutoff: Number = Field(1.0, gt=0, le=1, title="Filter cut-off", json_schema_extra=_unit("Nyquist"))
    """Frequency at which the window ends, as a fraction of the detector's highest (for butterworth, where
    it has fallen to one half)."""
    filter_order: Integer = Field(2, ge=1, le=20, title="Filter order")
    """Steepness of the Butterworth window; the others do not use it."""
    padding: Literal["zero", "edge"] = Field("zero", title="Padding")
    """What stands beside the detector when projections are filtered: nothing, right for a sample that fits
    into the field of view; or the outermost value, for a sample that is wider than it."""
    circular_mask: bool = Field(True, strict=True, title="Circular mask")
    """Set what lies outside the circle that every projection sees to 0."""


class FourierFbp(_Filtered):
    """Filtered back-projection computed in Fourier space: fast, and exact to single precision's needs."""

    method: Literal["fourier"] = "fourier"


class AstraFbp(_Filtered):
    """Filtered back-projection with ASTRA's back-projector: slow on a CPU, an independent check."""

    method: Literal["astra_fbp"] = "astra_fbp"


Reconstruction = Annotated[FourierFbp | AstraFbp, Field(discriminator="method")]


# --------------------------------------------------------------------------------------------- output


class Output(StageModel):
    """The form of the result."""

    units: Literal["per_pixel", "per_cm"] = Field("per_pixel", title="Units")
    """Grey values as linear attenuation per (binned) pixel, or per cm (needs the pixel size)."""
