"""The chain of steps that a recipe asks for, between the raw frames and the reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tomoservice.errors import RecipeError
from tomoservice.geometry import axis_to_selection
from tomoservice.pipeline.selection import Selection
from tomoservice.pipeline.stages import (
    DoubleFlatField,
    Exponential,
    LevelBorders,
    Linearise,
    MinusLog,
    Phase,
    Spikes,
    Step,
    Stripes,
    StuckPixels,
    Tilt,
    WorkingBytes,
    Zingers,
)
from tomoservice.prep.beam_hardening import turning_point
from tomoservice.prep.outliers import ZingerOptions
from tomoservice.prep.phase import (
    Method,
    Padding,
    Retrieval,
    delta_beta_from_alpha,
    doubts,
    free_space,
    refractive_index,
)
from tomoservice.prep.stripes import METHODS, StripeMethod
from tomoservice.prep.stripes.fourier_wavelet import Variant
from tomoservice.prep.tilt import TiltedAxis
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.beam_hardening import PolynomialBeamHardening
from tomoservice.recipe.stages.flat_field import BorderNormalisation, NoFlatField
from tomoservice.recipe.stages.minus_log import StandardMinusLog
from tomoservice.recipe.stages.outliers import Outliers as OutlierStage
from tomoservice.recipe.stages.outliers import StuckPixels as StuckPixelStage
from tomoservice.recipe.stages.outliers import Zingers as ZingerStage
from tomoservice.recipe.stages.phase import Compound, ContrastTransfer, DeltaBeta, NoPhase
from tomoservice.recipe.stages.phase import Phase as PhaseStage
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recipe.stages.stripes import NoStripes
from tomoservice.recipe.stages.stripes import Stripes as StripeStage
from tomoservice.scan import TomoScan


@dataclass(frozen=True, slots=True)
class Chain:
    """What is done to frames after the division by the beam."""

    minimum_transmission: float | None
    """What lower transmissions are raised to before a logarithm at once, or None for none at once."""
    steps: tuple[Step, ...] = ()
    """What follows, in this order."""

    @property
    def margin(self) -> int:
        """Rows on either side of a block that the steps look at together."""
        return sum(step.margin for step in self.steps)

    def split(self) -> tuple[Chain, Chain]:
        """Return the chain before the step that looks farthest, and the chain from that step on."""
        if not self.margin:
            return self, Chain(None)
        place = max(range(len(self.steps)), key=lambda number: self.steps[number].margin)
        return Chain(self.minimum_transmission, self.steps[:place]), Chain(None, self.steps[place:])

    def working_bytes(self, angles: int, columns: int) -> WorkingBytes:
        """Return the most memory that a step takes beside the block, for sinograms of this size."""
        each = [step.working_bytes(angles, columns) for step in self.steps]
        return WorkingBytes(
            max((need.fixed for need in each), default=0), max((need.per_row for need in each), default=0)
        )

    @property
    def phase(self) -> Phase | None:
        """The retrieval of phases, if there is one: it may reach across most of a frame."""
        return next((step for step in self.steps if isinstance(step, Phase)), None)

    def without_steps(self) -> Chain:
        """Return the chain that only takes the logarithm, at once."""
        steps = (step for step in self.steps if isinstance(step, MinusLog))
        late = next((step.minimum_transmission for step in steps), None)
        return Chain(self.minimum_transmission if late is None else late)

    def around(self, step: Step) -> tuple[Chain, Chain]:
        """Return the chains before and after one of the steps."""
        place = self.steps.index(step)
        return Chain(self.minimum_transmission, self.steps[:place]), Chain(None, self.steps[place + 1 :])


def plain_chain(recipe: Recipe) -> Chain:
    """Return the shortest chain that gives line integrals: what a search for the axis looks at."""
    return Chain(_minimum(recipe))


def build_chain(recipe: Recipe, selection: Selection) -> Chain:
    """Return the chain of a resolved recipe.

    Outliers are removed and phases retrieved where the image is a transmission, stripes are removed, beam
    hardening and tilt corrected where it is a line integral; the logarithm stands where it is needed.
    """
    builder = _Builder(_minimum(recipe))
    flat_field = recipe.flat_field
    if not isinstance(flat_field, NoFlatField):
        air = flat_field.normalisation
        if isinstance(air, BorderNormalisation):
            builder.transmission(LevelBorders(max(air.columns // selection.binning, 1)))
    _add_outliers(builder, recipe.outliers)
    if not isinstance(flat_field, NoFlatField) and flat_field.double_flat_field is not None:
        builder.line_integrals(DoubleFlatField(flat_field.double_flat_field / selection.binning))
    if not isinstance(recipe.stripes, NoStripes):
        builder.line_integrals(Stripes(stripe_method(recipe.stripes)))
    if not isinstance(recipe.phase, NoPhase):
        builder.transmission(Phase(retrieval(recipe.phase, selection.binning)))
    if isinstance(recipe.beam_hardening, PolynomialBeamHardening):
        builder.line_integrals(Linearise(recipe.beam_hardening.coefficients))
    axis = recipe.rotation_axis
    if isinstance(axis, AxisValue) and axis.tilt_deg != 0:
        builder.line_integrals(tilt(axis, selection))
    return builder.chain()


def _add_outliers(builder: _Builder, stage: OutlierStage) -> None:
    if isinstance(stage, StuckPixelStage) or (isinstance(stage, ZingerStage) and stage.stuck_pixels):
        builder.transmission(StuckPixels())
    if isinstance(stage, ZingerStage):
        options = ZingerOptions(stage.threshold, stage.threshold_unit, stage.size, stage.kind)
        if stage.dimension != "angle":
            builder.transmission(Zingers(options))
        if stage.dimension != "frame":
            builder.transmission(Spikes(options))


class _Builder:
    """Puts steps in order, with logarithms between them where they are needed."""

    def __init__(self, minimum: float | None) -> None:
        self._minimum = minimum
        self._at_once: float | None = None
        self._steps: list[Step] = []
        # Without a logarithm the recorded images are line integrals already, and nothing is ever converted.
        self._is_transmission = minimum is not None

    def transmission(self, step: Step) -> None:
        if self._minimum is not None and not self._is_transmission:
            self._steps.append(Exponential())
            self._is_transmission = True
        self._steps.append(step)

    def line_integrals(self, step: Step) -> None:
        self._logarithm()
        self._steps.append(step)

    def chain(self) -> Chain:
        self._logarithm()
        return Chain(self._at_once, tuple(self._steps))

    def _logarithm(self) -> None:
        if self._minimum is None or not self._is_transmission:
            return
        if self._steps:
            self._steps.append(MinusLog(self._minimum))
        else:
            self._at_once = self._minimum
        self._is_transmission = False


def _minimum(recipe: Recipe) -> float | None:
    stage = recipe.minus_log
    return stage.minimum_transmission if isinstance(stage, StandardMinusLog) else None


def resolved_phase(recipe: Recipe, scan: TomoScan) -> Recipe:
    """Fill in what the phase retrieval takes from the scan.

    Raises
    ------
    RecipeError
        If neither recipe nor scan tell energy, distance or pixel size, or there is no transmission to
        retrieve a phase from.
    """
    stage = recipe.phase
    if isinstance(stage, NoPhase):
        return recipe
    name = recipe.name or "recipe"
    if _minimum(recipe) is None:
        raise RecipeError(
            "phase: wants transmissions, but minus_log.method 'none' says that the projections are line "
            "integrals already; set minus_log.method to 'standard' or phase.method to 'none'",
            name=name,
        )
    told = {field: getattr(scan, field) for field in ("energy_kev", "distance_mm", "pixel_size_um")}
    given = {field: getattr(stage, field) for field in told}
    values = {field: told[field] if given[field] is None else given[field] for field in told}
    free_space(**values, name=name)
    stage = stage.model_copy(update=values)
    # A ratio is the same tomorrow, whatever tables say then.
    ratio = retrieval(stage, binning=1).delta_beta
    return recipe.changed(phase=stage.model_copy(update={"material": DeltaBeta(delta_beta=ratio)}))


def physics_notes(recipe: Recipe, chain: Chain, selection: Selection) -> list[str]:
    """Return why stages of a resolved recipe may not suit the experiment, in sentences for the user."""
    notes = []
    if chain.phase is not None:
        found = chain.phase.retrieval
        notes.append(f"phase: delta/beta {found.delta_beta:.4g}, blur of {found.blur_pixels:.2g} pixels")
        notes += doubts(found, selection.frame_rows // selection.binning, selection.width)
    hardening = recipe.beam_hardening
    if isinstance(hardening, PolynomialBeamHardening):
        minimum = _minimum(recipe)
        turn = turning_point(hardening.coefficients, 10.0 if minimum is None else -math.log(minimum))
        if turn is not None:
            notes.append(
                f"beam_hardening.coefficients: line integrals above {turn:.3g} become smaller again; "
                "fit the polynomial over the whole range of the sample"
            )
    return notes


def stripe_method(stage: StripeStage) -> StripeMethod:
    """Return a recipe's removal of stripes in the engine's terms: the fields of both have the same names."""
    parameters = stage.model_dump(exclude={"method"})
    if "variant" in parameters:
        parameters["variant"] = Variant(parameters["variant"])
    return METHODS[stage.method](**parameters)


def retrieval(stage: PhaseStage, binning: int) -> Retrieval:
    """Return a resolved phase stage in the engine's terms."""
    if isinstance(stage, NoPhase):
        raise RecipeError("phase.method: got 'none', wants a method of retrieval")
    pixel = None if stage.pixel_size_um is None else stage.pixel_size_um * binning
    space = free_space(energy_kev=stage.energy_kev, distance_mm=stage.distance_mm, pixel_size_um=pixel)
    material = stage.material
    if isinstance(material, DeltaBeta):
        delta_beta = material.delta_beta
    elif isinstance(material, Compound):
        delta_beta = refractive_index(material.formula, material.density_g_cm3, space.energy_kev).delta_beta
    else:
        delta_beta = delta_beta_from_alpha(material.alpha)
    extra = {"regularisation": stage.regularisation} if isinstance(stage, ContrastTransfer) else {}
    return Retrieval(
        method=Method(stage.method),
        delta_beta=delta_beta,
        space=space,
        unsharp_amount=stage.unsharp_amount,
        unsharp_sigma=stage.unsharp_sigma,
        padding=Padding(stage.padding),
        **extra,
    )


def tilt(axis: AxisValue, selection: Selection) -> Tilt:
    """Return the correction of a tilted axis on the pixels of a selection."""
    first, last = selection.rows_around(0, selection.slices, selection.frame_rows)
    middle = axis_to_selection((selection.frame_rows - 1) / 2, selection.rows.start, selection.binning)
    tilted = TiltedAxis(selection.axis(axis.value), axis.tilt_deg, middle)
    return Tilt(tilted, first, last - 1, selection.width)
