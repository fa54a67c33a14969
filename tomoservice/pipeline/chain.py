"""The chain of steps that a recipe asks for, between the raw frames and the reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tomoservice.errors import InputError, RecipeError
from tomoservice.geometry import axis_to_selection
from tomoservice.pipeline.selection import Selection
from tomoservice.pipeline.stages import (
    DoubleFlatField,
    Exponential,
    LevelBorders,
    Linearise,
    MinusLog,
    Phase,
    Source,
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
    SeveralDistances,
    check_blur,
    delta_beta_from_alpha,
    doubts,
    free_space,
    refractive_index,
)
from tomoservice.prep.stripes import METHODS, StripeMethod
from tomoservice.prep.stripes.fourier_wavelet import Variant
from tomoservice.prep.tilt import TiltedAxis
from tomoservice.propagation import FreeSpace
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.beam_hardening import PolynomialBeamHardening
from tomoservice.recipe.stages.flat_field import BorderNormalisation, NoFlatField
from tomoservice.recipe.stages.minus_log import StandardMinusLog
from tomoservice.recipe.stages.outliers import Outliers as OutlierStage
from tomoservice.recipe.stages.outliers import StuckPixels as StuckPixelStage
from tomoservice.recipe.stages.outliers import Zingers as ZingerStage
from tomoservice.recipe.stages.phase import (
    LEAST_MAGNIFICATION,
    Compound,
    ContrastTransfer,
    ContrastTransferOfSeveral,
    DeltaBeta,
    Experiment,
    GeneralisedPaganin,
    NoPhase,
    OtherScan,
    Paganin,
)
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


def build_chain(recipe: Recipe, selection: Selection, sources: tuple[Source, ...] = ()) -> Chain:
    """Return the chain of a resolved recipe.

    Outliers are removed and phases retrieved where the image is a transmission, stripes are removed, beam
    hardening and tilt corrected where it is a line integral; the logarithm stands where it is needed.

    Parameters
    ----------
    recipe
        Resolved.
    selection
        What of the scan is kept.
    sources
        Where the transmissions at the other distances come from, for a phase from several.
    """
    builder = _up_to_phase(recipe, selection)
    if isinstance(recipe.phase, ContrastTransferOfSeveral):
        builder.transmission(Phase(several_distances(recipe.phase, selection.binning), sources))
    elif not isinstance(recipe.phase, NoPhase):
        builder.transmission(Phase(retrieval(recipe.phase, selection.binning)))
    if isinstance(recipe.beam_hardening, PolynomialBeamHardening):
        builder.line_integrals(Linearise(recipe.beam_hardening.coefficients))
    axis = recipe.rotation_axis
    if isinstance(axis, AxisValue) and axis.tilt_deg != 0:
        builder.line_integrals(tilt(axis, selection))
    return builder.chain()


def chain_up_to_phase(recipe: Recipe, selection: Selection) -> Chain:
    """Return the chain that gives the transmissions which a phase is retrieved from."""
    return _up_to_phase(recipe, selection).transmissions()


def _up_to_phase(recipe: Recipe, selection: Selection) -> _Builder:
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
    return builder


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
        self._exponential()
        self._steps.append(step)

    def line_integrals(self, step: Step) -> None:
        self._logarithm()
        self._steps.append(step)

    def chain(self) -> Chain:
        self._logarithm()
        return Chain(self._at_once, tuple(self._steps))

    def transmissions(self) -> Chain:
        self._exponential()
        return Chain(self._at_once, tuple(self._steps))

    def _exponential(self) -> None:
        if self._minimum is not None and not self._is_transmission:
            self._steps.append(Exponential())
            self._is_transmission = True

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
    values: dict[str, Any] = {field: told[field] if given[field] is None else given[field] for field in told}
    space = free_space(**values, name=name)
    if isinstance(stage, ContrastTransferOfSeveral):
        values["scans"] = tuple(_resolved_other(other, scan, space, name) for other in stage.scans)
    # A ratio is the same tomorrow, whatever tables say then.
    values["material"] = DeltaBeta(delta_beta=_delta_beta(stage, space.energy_kev))
    nearest = min([space.distance_mm, *(other.distance_mm for other in values.get("scans", ()))])
    least = replace(space, distance_mm=nearest)
    check_blur(values["material"].delta_beta, least, *scan.shape[1:], name=name)
    return recipe.changed(phase=stage.model_copy(update=values))


def _resolved_other(other: OtherScan, scan: TomoScan, space: FreeSpace, name: str) -> OtherScan:
    """Fill in what a scan at another distance tells of itself."""
    opened = companion(scan, other.scan)
    distance = opened.distance_mm if other.distance_mm is None else other.distance_mm
    if distance is None:
        raise RecipeError(
            f"phase.scans: the distance of {other.scan!r} is needed, and the scan does not tell it; set its "
            "distance_mm",
            name=name,
        )
    magnification = other.magnification
    if magnification is None:
        size = opened.pixel_size_um
        magnification = 1.0 if size is None else space.pixel_size_um / size
    if not LEAST_MAGNIFICATION <= magnification <= 1 / LEAST_MAGNIFICATION:
        raise RecipeError(
            f"phase.scans: {other.scan!r} has pixels of {opened.pixel_size_um} um, this scan of "
            f"{space.pixel_size_um:g} um, which is too far apart to join; set its magnification "
            f"({LEAST_MAGNIFICATION:g} to {1 / LEAST_MAGNIFICATION:g}) if they are wrong",
            name=name,
        )
    return other.model_copy(update={"distance_mm": distance, "magnification": magnification})


def companion(scan: TomoScan, name: str) -> TomoScan:
    """Return the scan that a recipe names beside the one that is reconstructed.

    Raises
    ------
    InputError
        If it has not been opened with it.
    """
    if name not in scan.companions:
        raise InputError(
            scan.origin.location,
            f"phase.scans names {name!r}, which has not been opened with this scan",
            hint="Only `tomoservice reconstruct` and the service's workers open other scans",
        )
    return scan.companions[name]


def physics_notes(recipe: Recipe, chain: Chain, selection: Selection) -> list[str]:
    """Return why stages of a resolved recipe may not suit the experiment, in sentences for the user."""
    notes = []
    if chain.phase is not None:
        found = chain.phase.retrieval
        if isinstance(found, SeveralDistances):
            distances = ", ".join(f"{space.distance_mm:g}" for space in found.spaces)
            notes.append(f"phase: delta/beta {found.delta_beta:.4g}, from distances of {distances} mm")
        else:
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


def retrieval(stage: Paganin | GeneralisedPaganin | ContrastTransfer, binning: int) -> Retrieval:
    """Return a resolved phase stage in the engine's terms."""
    space = _space(stage, stage.distance_mm, binning)
    extra = {"regularisation": stage.regularisation} if isinstance(stage, ContrastTransfer) else {}
    return Retrieval(
        method=Method(stage.method),
        delta_beta=_delta_beta(stage, space.energy_kev),
        space=space,
        unsharp_amount=stage.unsharp_amount,
        unsharp_sigma=stage.unsharp_sigma,
        padding=Padding(stage.padding),
        **extra,
    )


def several_distances(stage: ContrastTransferOfSeveral, binning: int) -> SeveralDistances:
    """Return a resolved phase stage with several distances in the engine's terms."""
    distances = [stage.distance_mm, *(other.distance_mm for other in stage.scans)]
    spaces = tuple(_space(stage, distance, binning) for distance in distances)
    return SeveralDistances(
        delta_beta=_delta_beta(stage, spaces[0].energy_kev),
        spaces=spaces,
        regularisation=stage.regularisation,
    )


def _space(stage: Experiment, distance_mm: float | None, binning: int) -> FreeSpace:
    pixel = None if stage.pixel_size_um is None else stage.pixel_size_um * binning
    return free_space(energy_kev=stage.energy_kev, distance_mm=distance_mm, pixel_size_um=pixel)


def _delta_beta(stage: Experiment, energy_kev: float) -> float:
    material = stage.material
    if isinstance(material, DeltaBeta):
        return material.delta_beta
    if isinstance(material, Compound):
        return refractive_index(material.formula, material.density_g_cm3, energy_kev).delta_beta
    return delta_beta_from_alpha(material.alpha)


def tilt(axis: AxisValue, selection: Selection) -> Tilt:
    """Return the correction of a tilted axis on the pixels of a selection."""
    first, last = selection.rows_around(0, selection.slices, selection.frame_rows)
    middle = axis_to_selection((selection.frame_rows - 1) / 2, selection.rows.start, selection.binning)
    tilted = TiltedAxis(selection.axis(axis.value), axis.tilt_deg, middle)
    return Tilt(tilted, first, last - 1, selection.width)
