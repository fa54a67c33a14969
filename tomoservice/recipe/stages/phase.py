"""Phase retrieval."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tomoservice.errors import EngineError
from tomoservice.formulas import check_energy, elements_of
from tomoservice.recipe.stages.base import Number, StageModel, plain_number, unit
from tomoservice.recipe.stages.frames import Index

# The limit stands inside, where the schema of an optional number has it.
Positive = Annotated[float, Field(gt=0), BeforeValidator(plain_number)]
LEAST_MAGNIFICATION = 0.25
"""Of one scan in relation to another."""
Magnification = Annotated[
    float, Field(ge=LEAST_MAGNIFICATION, le=1 / LEAST_MAGNIFICATION), BeforeValidator(plain_number)
]


class DeltaBeta(StageModel):
    """The ratio is known."""

    method: Literal["delta_beta"] = "delta_beta"
    delta_beta: Number = Field(gt=0, le=1e9, title="δ/β")
    """Refraction over absorption of the sample, for a refractive index 1 - δ + iβ: some hundreds to thousands
    for light materials and hard X-rays. More makes smoother images."""


class Compound(StageModel):
    """The ratio follows from what the sample is made of, and from the energy."""

    method: Literal["compound"] = "compound"
    formula: str = Field(min_length=1, max_length=200, title="Formula")
    """Chemical formula, such as H2O, SiO2 or Ca5(PO4)3OH."""
    density_g_cm3: Number = Field(gt=0, le=30, title="Density", json_schema_extra=unit("g/cm³"))
    """Density."""

    @field_validator("formula")
    @classmethod
    def _known(cls, formula: str) -> str:
        try:
            elements_of(formula)
        except EngineError as error:
            raise ValueError(str(error)) from error
        return formula


class TomopyAlpha(StageModel):
    """The ratio is given as TomoPy's `alpha`: δ/β = 1 / (4 π² alpha)."""

    method: Literal["tomopy_alpha"] = "tomopy_alpha"
    alpha: Number = Field(1e-3, gt=0, le=1e3, title="alpha")
    """TomoPy's regularisation parameter; 0.001 means a δ/β of 25.3. Less makes smoother images."""


Material = Annotated[DeltaBeta | Compound | TomopyAlpha, Field(discriminator="method")]


class NoPhase(StageModel):
    """No phase retrieval."""

    method: Literal["none"] = "none"


class Experiment(StageModel):
    """What a retrieval must know of sample and beam."""

    material: Material = Field(title="Material")
    """How the sample refracts, compared with how it absorbs: one ratio δ/β for all of it."""
    energy_kev: Positive | None = Field(None, title="Energy", json_schema_extra=unit("keV"))
    """Photon energy; null takes what the scan tells."""
    distance_mm: Positive | None = Field(None, title="Distance", json_schema_extra=unit("mm"))
    """From sample to detector; null takes what the scan tells. For a cone beam divide by the
    magnification."""
    pixel_size_um: Positive | None = Field(None, title="Pixel size", json_schema_extra=unit("µm"))
    """Size of an unbinned pixel at the sample; null takes what the scan tells."""

    @model_validator(mode="after")
    def _tabulated(self) -> Experiment:
        if isinstance(self.material, Compound) and self.energy_kev is not None:
            try:
                check_energy(self.energy_kev)
            except EngineError as error:
                raise ValueError(str(error)) from error
        return self


class _SingleDistance(Experiment):
    """A retrieval from one distance."""

    unsharp_amount: Number = Field(0.0, ge=0, le=100, title="Unsharp mask")
    """How strongly details are enhanced after the retrieval, which smooths: adds so many times the difference
    of the image and a blurred copy. 0 adds nothing."""
    unsharp_sigma: Number = Field(
        1.0, gt=0, le=100, title="Unsharp mask's blur", json_schema_extra=unit("pixel")
    )
    """Standard deviation of the Gaussian that blurs the copy, in binned pixels."""
    padding: Literal["reflect", "edge"] = Field("reflect", title="Padding")
    """What stands around a projection when it is filtered: its mirror image, or its outermost values. How far
    the padding reaches is not an option: always far enough."""


class Paganin(_SingleDistance):
    """Paganin's method (2002) for a sample of one material, near enough for fringes not to be resolved."""

    method: Literal["paganin"] = "paganin"


class GeneralisedPaganin(_SingleDistance):
    """Paganin's method for the grid of pixels (2020): as the other, but sharper at the finest details."""

    method: Literal["generalised_paganin"] = "generalised_paganin"


class ContrastTransfer(_SingleDistance):
    """Contrast transfer function of one material: for resolved fringes of a weakly absorbing sample."""

    method: Literal["ctf"] = "ctf"
    regularisation: Number = Field(0.1, gt=0, le=10, title="Regularisation")
    """Keeps frequencies that the detector saw without contrast from being amplified without bound: more makes
    less noise, and weaker details. A fraction of the square of the strongest contrast."""


class OtherScan(StageModel):
    """A scan of the same sample at another distance, from the same angles."""

    scan: str = Field(min_length=1, max_length=1000, title="Scan")
    """Where it is: path of its file or folder, seen from the folder of the scan that is reconstructed; in
    a service, the uid of its run."""
    distance_mm: Positive | None = Field(None, title="Distance", json_schema_extra=unit("mm"))
    """From sample to detector; null takes what that scan tells. For a cone beam divide by the
    magnification."""
    magnification: Magnification | None = Field(None, title="Relative magnification")
    """How many times as large the sample appears in its frames, in pixels, as in those of the scan that is
    reconstructed; null takes the ratio of the pixel sizes that both tell, or 1."""
    shift: tuple[Number, Number] | None = Field(None, title="Shift", json_schema_extra=unit("pixel"))
    """Where the middle of the frame of the scan that is reconstructed lies in its frames, off their middle:
    unbinned pixels down and to the right. Null finds it by registration of a few projections."""
    exclude_flats: tuple[Index, ...] = Field((), title="Excluded flats", json_schema_extra=unit("flat"))
    """Numbers of its flats that are left out in any case."""
    exclude_darks: tuple[Index, ...] = Field((), title="Excluded darks", json_schema_extra=unit("dark"))
    """Numbers of its darks that are left out in any case."""


class ContrastTransferOfSeveral(Experiment):
    """Contrast transfer function of one material from several distances: where one shows no contrast another
    does. For resolved fringes of a weakly absorbing sample that did not change between the scans."""

    method: Literal["ctf_several"] = "ctf_several"
    regularisation: Number = Field(0.1, gt=0, le=10, title="Regularisation")
    """Keeps frequencies that no distance shows with contrast from being amplified without bound: more makes
    less noise, and weaker details. A fraction of the square of the strongest contrast."""
    scans: tuple[OtherScan, ...] = Field(min_length=1, max_length=7, title="Scans at other distances")
    """The scans beside the one that is reconstructed; its pixels and angles are those of the result. Flat
    field, outliers and stripes are corrected in all of them alike."""

    @model_validator(mode="after")
    def _named_once(self) -> ContrastTransferOfSeveral:
        names = [other.scan for other in self.scans]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"scans names {twice!r} twice")
        return self


Phase = Annotated[
    NoPhase | Paganin | GeneralisedPaganin | ContrastTransfer | ContrastTransferOfSeveral,
    Field(discriminator="method"),
]
