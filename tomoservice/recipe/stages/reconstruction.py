"""From sinograms to slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import Integer, Number, StageModel, unit

FilterName = Literal["ramp", "shepp-logan", "cosine", "hann", "hamming", "butterworth"]


class _Filtered(StageModel):
    filter: FilterName = Field("ramp", title="Filter")
    """Window on the ramp filter. The ramp keeps all detail and all noise; the others trade detail for
    smoothness."""
    filter_cutoff: Number = Field(1.0, gt=0, le=1, title="Filter cut-off", json_schema_extra=unit("Nyquist"))
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
