"""From sinograms to slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tomoservice.recipe.stages.base import Integer, Number, StageModel, plain_number, unit

Initial = Literal["zero", "fbp", "volume"]
FilterName = Literal["ramp", "shepp-logan", "cosine", "hann", "hamming", "butterworth"]
# The limit stands inside, where the schema of an optional number has it.
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(plain_number)]
MOST_ITERATIONS = 10_000


class _Slice(StageModel):
    circular_mask: bool = Field(True, strict=True, title="Circular mask")
    """Set what lies outside the circle around the axis that fits into the slice to 0. Iterative methods
    do not seek anything there either: leave it off for a sample that is wider than the field of view."""
    half_acquisition: Literal["auto", "on", "off"] = Field("auto", title="Half-acquisition")
    """Join the two halves of a turn of 360 degrees whose axis is near one side of the detector, into slices
    nearly twice as wide as the detector. Auto does so if the scan is such a turn; off keeps slices as wide as
    the detector."""


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


class FourierFbp(_Slice, _Filtered):
    """Filtered back-projection computed in Fourier space: fast, and exact to single precision's needs."""

    method: Literal["fourier"] = "fourier"


class FinufftFbp(_Slice, _Filtered):
    """Filtered back-projection by FINUFFT's transforms: an independent check, some times slower."""

    method: Literal["finufft"] = "finufft"


class AstraFbp(_Slice, _Filtered):
    """Filtered back-projection with ASTRA's back-projector: slow on a CPU, an independent check."""

    method: Literal["astra_fbp"] = "astra_fbp"


class Iterative(StageModel):
    """What iterative methods share."""

    iterations: Integer = Field(100, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """Each takes about as long as a filtered back-projection with ASTRA."""
    initial: Initial = Field("zero", title="Start")
    """What the iterations start from: nothing; the filtered back-projection, which is close already but
    brings its noise and streaks along; or an earlier volume."""
    initial_volume: str | None = Field(None, min_length=1, max_length=1000, title="Volume to start from")
    """The earlier volume, of this scan or of one with the same detector, coarser or finer: path of its file
    or folder, seen from the folder of the scan; in a service, the key of a reconstruction of the same run, or
    uid of a run, a slash, and the key of its reconstruction."""
    tolerance: Number = Field(0.0, ge=0, lt=1, title="Tolerance")
    """Stop early when an iteration changes the residual by less than this part of itself; 0 makes all
    iterations. 0.001 to 0.01 are usual."""

    @model_validator(mode="after")
    def _start_is_named(self) -> Iterative:
        if (self.initial == "volume") != (self.initial_volume is not None):
            raise ValueError(
                f"initial is {self.initial!r} and initial_volume {self.initial_volume!r}: to start from "
                "a volume takes initial 'volume' and the name of the volume"
            )
        return self


class _Limited(StageModel):
    minimum: Number | None = Field(None, title="Minimum", json_schema_extra=unit("1/pixel"))
    """Least grey value that a slice may hold; 0 forbids negative attenuation. Null sets no limit."""
    maximum: Number | None = Field(None, title="Maximum", json_schema_extra=unit("1/pixel"))
    """Greatest grey value that a slice may hold. Null sets no limit."""

    @model_validator(mode="after")
    def _ordered(self) -> _Limited:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum ({self.minimum:g}) must be below maximum ({self.maximum:g})")
        return self


class Sirt(_Slice, _Limited, Iterative):
    """Simultaneous iterative reconstruction: robust with few, noisy or missing projections; slow."""

    method: Literal["sirt"] = "sirt"
    iterations: Integer = Field(100, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """More make the slice sharper and noisier; 50 to 300 are usual. Each takes about as long as a
    filtered back-projection with ASTRA."""


class Cgls(_Slice, Iterative):
    """Conjugate gradients for least squares: what SIRT reaches in 100 iterations, in about 15."""

    method: Literal["cgls"] = "cgls"
    iterations: Integer = Field(15, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """Too many bring out the noise: 10 to 30 are usual. Each takes about as long as a filtered
    back-projection with ASTRA."""


class Sart(_Slice, _Limited, Iterative):
    """Algebraic reconstruction in which groups of projections take turns: few iterations are enough."""

    method: Literal["sart"] = "sart"
    iterations: Integer = Field(10, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """In each, every projection has its turn: 5 to 20 are usual. Each takes about as long as a
    filtered back-projection with ASTRA."""
    subsets: Integer = Field(16, ge=1, le=100_000, title="Groups of projections")
    """Into how many groups the projections are cut. More come closer with each iteration and carry more
    noise; 1 is SIRT, as many as projections is SART as first published."""
    relaxation: Number = Field(1.0, gt=0, lt=2, title="Relaxation")
    """Part of each correction that is made; below 1 calms noise, and takes more iterations."""


class Em(_Slice, Iterative):
    """Expectation maximisation: nowhere negative, quiet where there is nothing; slow."""

    method: Literal["em"] = "em"
    iterations: Integer = Field(50, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """More make the slice sharper and noisier; 30 to 200 are usual. Each takes about as long as a
    filtered back-projection with ASTRA."""
    maximum: NotNegative | None = Field(None, title="Maximum", json_schema_extra=unit("1/pixel"))
    """Greatest grey value that a slice may hold. Null sets no limit."""


class Tv(_Slice, _Limited, Iterative):
    """Least squares with a price on edges: for few or noisy projections of a sample of uniform parts."""

    method: Literal["tv"] = "tv"
    iterations: Integer = Field(100, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """100 to 500 are usual. Each takes a little longer than a filtered back-projection with
    ASTRA."""
    initial: Initial = Field("fbp", title="Start")
    """What the iterations start from: nothing; the filtered back-projection, which saves hundreds; or an
    earlier volume."""
    weight: Number = Field(1e-3, ge=0, le=1e6, title="Weight of total variation")
    """How smooth: start with the noise of a line integral (-log of the transmission) divided by the square
    root of the number of projections. Too much melts fine detail away; 0 leaves plain least squares."""


class Tomopy(_Slice):
    """An algorithm of TomoPy, if it is installed; it is to be had from conda-forge only."""

    method: Literal["tomopy"] = "tomopy"
    algorithm: Literal["gridrec", "sirt", "bart", "mlem", "tv", "grad"] = Field("gridrec", title="Algorithm")
    """As TomoPy calls it. Gridrec is fast, its grey values some percent too high; the others iterate."""
    iterations: Integer = Field(50, ge=1, le=MOST_ITERATIONS, title="Iterations")
    """Of the iterative algorithms."""
    filter: FilterName = Field("ramp", title="Filter")
    """Window on the ramp filter, for gridrec."""
    weight: Number = Field(1e-3, ge=0, le=1e6, title="Weight of regularisation")
    """What TomoPy calls reg_par, for its tv."""


Reconstruction = Annotated[
    FourierFbp | FinufftFbp | AstraFbp | Sirt | Cgls | Sart | Em | Tv | Tomopy, Field(discriminator="method")
]
