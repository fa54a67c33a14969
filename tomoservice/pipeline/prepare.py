"""From a scan and a recipe to a plan: all that can be decided, checked and estimated before computing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.devices import AUTO, DeviceChoice
from tomoservice.errors import GeometryError, RecipeError
from tomoservice.pipeline.axis import check_axis_stage, describe_search, resolve_axis
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.chain import build_chain, physics_notes, resolved_phase
from tomoservice.pipeline.checks import check_sizes
from tomoservice.pipeline.companions import look_at_companions
from tomoservice.pipeline.groundwork import Groundwork, lay_groundwork
from tomoservice.pipeline.initial import describe_start, initial_volume
from tomoservice.pipeline.layout import Slab, cut_into_slabs
from tomoservice.pipeline.memory import Problem, memory_budget, plan_memory
from tomoservice.pipeline.options import is_half_acquisition, slice_size
from tomoservice.pipeline.outline import chunks_of, cropped_shape
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.selection import Selection, select
from tomoservice.pipeline.slabs import compute
from tomoservice.prep.tilt import LARGEST_TILT_DEG
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import NoFlatField
from tomoservice.recipe.stages.output import FixedRange, PercentileRange
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recon import Reconstructor, get_reconstructor, place
from tomoservice.recon.base import circle_mask
from tomoservice.recon.finishing import Conversion, IntegerType, choose_range
from tomoservice.scan import TomoScan

Progress = Callable[[str], None]
"""Told in words what is being done."""
SAMPLES = 3
"""Slices from which the range of grey values is taken."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a recipe shares with one that has been prepared before, for the same scan."""

    ground: Groundwork | None = None
    """For recipes whose `ground_stages` are equal."""
    axis: AxisResult | None = None
    """For recipes that also search the rotation axis in the same way."""
    checked: bool = False
    """For a recipe that was resolved on this very scan: what only finds mistakes is left out."""


def prepare(  # noqa: PLR0913 - what is decided, what is known of it, and three ways to steer it
    scan: TomoScan,
    recipe: Recipe,
    *,
    depth: int | None = None,
    known: Known = Known(),
    device: DeviceChoice = AUTO,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Plan:
    """Decide everything about a reconstruction before computing it.

    Reads the flats, the darks and a few rows of the projections; searches the rotation axis if the recipe
    asks for it. The plan's resolved recipe, prepared for the same scan, gives the same plan (notes and the
    account of the search aside), and nothing is searched for.

    Parameters
    ----------
    scan
        The scan; it is only read.
    recipe
        The recipe as asked.
    depth
        Slices of a slab, where there are slabs already; by default about a second's work.
    known
        What need not be looked for again.
    device
        What computes the slices; by default a CUDA device if the method knows how, and there is one.
    memory_bytes
        Memory budget; by default half of what is free now.
    progress
        Told what is being done.
    cancelled
        Asked now and then whether to stop.

    Raises
    ------
    InputError
        If the scan is not usable: names file, data set and cause.
    RecipeError
        If the recipe does not fit the scan: names the field.
    GeometryError
        If the angles make no tomogram, or no axis can be found.
    MemoryBudgetError
        If not even the smallest piece fits into the budget.
    DeviceError
        If a device is asked for that the method cannot use.
    CancelledError
        If `cancelled` said so.
    """
    say = progress or _silent
    budget = memory_budget(memory_bytes)
    selection = select(scan, recipe)
    check_sizes(recipe, selection)
    check_axis_stage(recipe, selection, scan.shape[2])
    voxel = _voxel_size(scan, recipe, selection)
    placed = place(recipe.reconstruction.method, device)
    reconstructor = get_reconstructor(recipe.reconstruction.method, placed)
    # Lost projections change nothing about how the volume is stored.
    asked = selection
    _check_memory(reconstructor, selection, chunks_of(recipe, asked, asked.width, depth), budget, asked.width)
    resolved = resolved_phase(recipe, scan)
    ground = known.ground or lay_groundwork(
        scan, recipe, selection, budget, again=known.checked, progress=say, cancelled=cancelled
    )
    selection, beam, notes = ground.selection, ground.beam, list(ground.notes)
    if not isinstance(recipe.rotation_axis, AxisValue):
        say("finding the rotation axis")
    axis = known.axis or resolve_axis(scan, recipe, selection, beam, budget=budget, cancelled=cancelled)
    if axis is not None:
        notes += describe_search(axis, scan)
    resolved = _with_axis(_with_beam(excluding(resolved, ground.lost), beam), axis)
    resolved, size = _resolved_size(resolved, selection)
    others = look_at_companions((recipe, resolved), selection, beam, again=known.checked, cancelled=cancelled)
    resolved, notes = others.recipe, [*notes, *others.notes]
    chain = build_chain(resolved, selection, others.sources)
    notes += physics_notes(resolved, chain, selection)
    start = initial_volume(resolved, scan, selection, size, voxel)
    if start is not None:
        notes.append(describe_start(start))
    chunks = chunks_of(recipe, asked, size, depth)
    _check_memory(reconstructor, selection, chunks, budget, size)
    plan = Plan(
        recipe=recipe,
        resolved=resolved,
        selection=selection,
        shape=cropped_shape(recipe, selection.slices, size),
        chunks=chunks,
        slabs=cut_into_slabs(selection.slices, chunks[0]),
        axis=axis,
        size=size,
        read_whole=getattr(scan.projections, "rows_together", 1) > chunks[0],
        conversion=None,
        beam=beam,
        chain=chain,
        blind_rows=ground.blind_rows,
        voxel_size_um=voxel,
        notes=tuple(notes),
        initial=start,
        device=placed,
    )
    _check_axes(plan)
    if recipe.output.dtype == "float32":
        return plan
    if isinstance(recipe.output.range, PercentileRange):
        say("choosing the range of grey values")
    return _converting(plan, scan, budget, cancelled)


def _voxel_size(scan: TomoScan, recipe: Recipe, selection: Selection) -> float | None:
    """Return the edge of a voxel in micrometres, if the scan tells it or the recipe can go without."""
    # What the recipe says for the phase is as good as what a scan that does not tell would have said.
    pixel = scan.pixel_size_um or getattr(recipe.phase, "pixel_size_um", None)
    voxel = None if pixel is None else pixel * selection.binning
    if recipe.output.units == "per_cm" and voxel is None:
        raise RecipeError(
            "output.units: got 'per_cm', but neither the scan nor phase.pixel_size_um tells the pixel size; "
            "use 'per_pixel'",
            name=recipe.name or "recipe",
        )
    return voxel


def _with_axis(recipe: Recipe, found: AxisResult | None) -> Recipe:
    """Return the recipe with the axis that was found, if one had to be."""
    if found is None:
        return recipe
    tilt_deg = found.tilt_deg or 0.0
    if abs(tilt_deg) > LARGEST_TILT_DEG:
        raise GeometryError(
            f"the axis seems to be tilted by {tilt_deg:.1f} degrees, which no beamline has: the "
            "rows that are kept do not tell the tilt. Set rotation_axis.tilt to false, keep more rows "
            "(frames.rows), or give value and tilt_deg"
        )
    return recipe.changed(rotation_axis=AxisValue(value=found.rotation_axis, tilt_deg=tilt_deg))


def _with_beam(recipe: Recipe, beam: Beam) -> Recipe:
    """Return the recipe with what was found out about flats, darks and the open beam."""
    stage = recipe.flat_field
    if isinstance(stage, NoFlatField):
        return recipe
    update: dict[str, Any] = {"bad_frames": "keep"}
    for field, frames, used in (
        ("exclude_flats", beam.scan.flats, beam.references.flats),
        ("exclude_darks", beam.scan.darks, beam.references.darks),
    ):
        count = 0 if frames is None else frames.shape[0]
        update[field] = tuple(int(number) for number in np.setdiff1d(np.arange(count), used))
    if beam.level is not None:
        update["open_beam"] = beam.level
    if beam.components is not None:
        update["components"] = beam.components.count
    return recipe.changed(flat_field=stage.model_copy(update=update))


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Widen a range to round numbers: samples differ in the last digits by how the volume is cut."""
    step = 10.0 ** (math.floor(math.log10(high - low)) - 3)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _converting(plan: Plan, scan: TomoScan, budget: int, cancelled: Callable[[], bool] | None) -> Plan:
    """Return the plan with the range of its whole numbers, taken from a few slices if the recipe says so."""
    output = plan.recipe.output
    wanted = output.range
    if isinstance(wanted, PercentileRange):
        every = {plan.shape[0] * (2 * i + 1) // (2 * SAMPLES) for i in range(SAMPLES)}
        samples: list[NDArray[np.float32]] = []
        compute(
            plan,
            scan,
            slabs=[Slab(0, z, z + 1) for z in sorted(every)],
            on_slab=lambda _, slices: samples.append(slices[0].copy()),
            cancelled=cancelled,
            memory_bytes=budget,
        )
        inside = None
        if plan.resolved.reconstruction.circular_mask:
            inside = circle_mask(plan.size)[plan.slice_rows, plan.slice_columns]
            inside = inside if inside.any() else None
        low, high = _rounded(*choose_range(samples, (wanted.low, wanted.high), inside=inside))
    else:
        low, high = wanted.low, wanted.high
    fixed = output.model_copy(update={"range": FixedRange(low=low, high=high)})
    return replace(
        plan,
        resolved=plan.resolved.changed(output=fixed),
        conversion=Conversion(IntegerType(output.dtype), low, high),
    )


def _check_axes(plan: Plan) -> None:
    """Refuse a tilted axis that leaves the columns before the rows that are kept end."""
    ends = plan.axes(0, plan.shape[0])[[0, -1]]
    for end, axis in zip(("first", "last"), ends, strict=True):
        if not 0 <= axis <= plan.selection.width - 1:
            raise RecipeError(
                f"rotation_axis.tilt_deg: with {plan.tilt_deg:g} degrees the axis leaves the columns "
                f"that are kept before the {end} row; keep fewer rows (frames.rows), or more columns",
                name=plan.recipe.name or "recipe",
            )


def _check_memory(
    reconstructor: Reconstructor, selection: Selection, chunks: tuple[int, int, int], budget: int, size: int
) -> None:
    """Refuse a volume whose slices are `size` pixels wide if not even the smallest piece fits."""
    problem = Problem(
        selection.slices,
        selection.angles_deg.size,
        selection.width,
        size,
        chunks[0],
        first_row=selection.first_row,
    )
    plan_memory(reconstructor, problem, budget)


def _resolved_size(recipe: Recipe, selection: Selection) -> tuple[Recipe, int]:
    """Decide on half-acquisition; return the recipe that says so, and the edge of a slice."""
    stage = recipe.reconstruction
    if not isinstance(recipe.rotation_axis, AxisValue):
        raise RecipeError("rotation_axis: a resolved recipe holds a value")
    axis = selection.axis(recipe.rotation_axis.value)
    half = is_half_acquisition(stage, selection.angles_deg, selection.width, axis)
    resolved = stage.model_copy(update={"half_acquisition": "on" if half else "off"})
    return recipe.changed(reconstruction=resolved), slice_size(selection.width, axis, half_acquisition=half)


def excluding(recipe: Recipe, lost: NDArray[np.integer[Any]]) -> Recipe:
    """Return the recipe with these projections excluded, too."""
    if not lost.size:
        return recipe
    left_out = sorted({*recipe.frames.exclude, *(int(number) for number in lost)})
    return recipe.changed(frames=recipe.frames.model_copy(update={"exclude": tuple(left_out)}))


def find_axis(
    scan: TomoScan,
    recipe: Recipe,
    *,
    memory_bytes: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> AxisResult:
    """Search the rotation axis as `recipe` says, and nothing else.

    Raises
    ------
    RecipeError
        If the recipe gives a value instead of a method, or does not fit the scan.
    InputError, GeometryError, CancelledError
        As `prepare`.
    """
    budget, selection = memory_budget(memory_bytes), select(scan, recipe)
    check_axis_stage(recipe, selection, scan.shape[2])
    ground = lay_groundwork(scan, recipe, selection, budget, progress=_silent, cancelled=cancelled)
    found = resolve_axis(scan, recipe, ground.selection, ground.beam, budget=budget, cancelled=cancelled)
    if found is None:
        raise RecipeError("rotation_axis.method: got 'value', wants a method to find the axis")
    return found


def _silent(_message: str) -> None:
    """Say nothing."""
