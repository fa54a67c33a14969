"""From a scan and a recipe to a plan: all that can be decided, checked and estimated before computing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.errors import GeometryError, RecipeError
from tomoservice.pipeline.axis import describe_search, resolve_axis
from tomoservice.pipeline.beam import look_at_beam
from tomoservice.pipeline.chain import build_chain, physics_notes, resolved_phase
from tomoservice.pipeline.checks import check_scan
from tomoservice.pipeline.layout import Slab, chunk_shape, cut_into_slabs
from tomoservice.pipeline.memory import Problem, memory_budget, piece_bytes, plan_memory
from tomoservice.pipeline.options import is_half_acquisition, slice_size
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.plausibility import check_transmission
from tomoservice.pipeline.selection import Selection, select
from tomoservice.pipeline.slabs import compute
from tomoservice.prep.tilt import LARGEST_TILT_DEG
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.output import FixedRange, PercentileRange
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recon import Reconstructor, get_reconstructor
from tomoservice.recon.base import circle_mask
from tomoservice.recon.finishing import Conversion, IntegerType, choose_range
from tomoservice.scan import TomoScan

Progress = Callable[[str], None]
"""Told in words what is being done."""
SAMPLES = 3
"""Slices from which the range of grey values is taken."""


def prepare(
    scan: TomoScan,
    recipe: Recipe,
    *,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Plan:
    """Decide everything about a reconstruction before computing it.

    Reads the flats, the darks and a few rows of the projections; searches the rotation axis if the recipe
    asks for it.

    Parameters
    ----------
    scan
        The scan; it is only read.
    recipe
        The recipe as asked.
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
    CancelledError
        If `cancelled` said so.
    """
    say = progress or _silent
    budget = memory_budget(memory_bytes)
    selection = select(scan, recipe)
    voxel = None if scan.pixel_size_um is None else scan.pixel_size_um * selection.binning
    if recipe.output.units == "per_cm" and voxel is None:
        raise RecipeError(
            "output.units: got 'per_cm', but the scan does not tell its pixel size; use 'per_pixel'",
            name=recipe.name or "recipe",
        )
    reconstructor = get_reconstructor(recipe.reconstruction.method)
    _check_memory(reconstructor, selection, selection.width, budget)
    resolved = resolved_phase(recipe, scan)
    say("checking the scan")
    checked = check_scan(scan, recipe, selection)
    selection, notes = checked.selection, checked.notes
    if checked.lost.size:
        resolved = excluding(resolved, checked.lost)
    say("looking at the beam")
    beam = look_at_beam(
        scan, recipe, selection, checked.references, piece_bytes=piece_bytes(budget), cancelled=cancelled
    )
    notes += check_transmission(scan, recipe, selection, beam)
    say("finding the rotation axis")
    axis = resolve_axis(scan, recipe, selection, beam, budget=budget, cancelled=cancelled)
    if axis is not None:
        if abs(axis.tilt_deg or 0.0) > LARGEST_TILT_DEG:
            raise GeometryError(
                f"the axis seems to be tilted by {axis.tilt_deg:.1f} degrees, which no beamline has: the "
                "rows that are kept do not tell the tilt. Set rotation_axis.tilt to false, keep more rows "
                "(frames.rows), or give value and tilt_deg"
            )
        resolved = resolved.changed(
            rotation_axis=AxisValue(value=axis.rotation_axis, tilt_deg=axis.tilt_deg or 0.0)
        )
        notes += describe_search(axis, scan)
    resolved, size = _resolved_size(resolved, selection)
    chain = build_chain(resolved, selection)
    notes += physics_notes(resolved, chain, selection)
    chunks = _check_memory(reconstructor, selection, size, budget)
    plan = Plan(
        recipe=recipe,
        resolved=resolved,
        selection=selection,
        shape=_cropped_shape(recipe, selection.slices, size),
        chunks=chunks,
        slabs=cut_into_slabs(selection.slices, chunks[0]),
        axis=axis,
        size=size,
        read_whole=getattr(scan.projections, "rows_together", 1) > chunks[0],
        conversion=None,
        beam=beam,
        chain=chain,
        voxel_size_um=voxel,
        notes=tuple(notes),
    )
    _check_axes(plan)
    if recipe.output.dtype == "float32":
        return plan
    say("choosing the range of grey values")
    return _converting(plan, scan, budget, cancelled)


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Widen a range to round numbers: samples differ in the last digits by how the volume is cut."""
    step = 10.0 ** (math.floor(math.log10(high - low)) - 3)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _cropped_shape(recipe: Recipe, slices: int, size: int) -> tuple[int, int, int]:
    """Return the shape of the volume, or say that there is less of a slice than the recipe keeps."""
    crop = recipe.output.crop
    edges = []
    for name, kept in (("rows", crop.rows), ("columns", crop.columns)):
        stop = size if kept.stop is None else kept.stop
        if kept.start >= size or stop > size:
            raise RecipeError(
                f"output.crop.{name}: got {kept.start} to {stop}, but a slice has {size} {name}",
                name=recipe.name or "recipe",
            )
        edges.append(stop - kept.start)
    return slices, edges[0], edges[1]


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
    reconstructor: Reconstructor, selection: Selection, size: int, budget: int
) -> tuple[int, int, int]:
    """Return the chunks of a volume whose slices are `size` pixels wide, if it can be computed at all."""
    shape = (selection.slices, size, size)
    chunks = chunk_shape(shape, selection.angles_deg.size, row_group=reconstructor.row_group)
    problem = Problem(
        selection.slices,
        selection.angles_deg.size,
        selection.width,
        size,
        chunks[0],
        first_row=selection.first_row,
    )
    plan_memory(reconstructor, problem, budget)
    return chunks


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
    checked = check_scan(scan, recipe, select(scan, recipe))
    budget = memory_budget(memory_bytes)
    beam = look_at_beam(
        scan,
        recipe,
        checked.selection,
        checked.references,
        piece_bytes=piece_bytes(budget),
        cancelled=cancelled,
    )
    found = resolve_axis(scan, recipe, checked.selection, beam, budget=budget, cancelled=cancelled)
    if found is None:
        raise RecipeError("rotation_axis.method: got 'value', wants a method to find the axis")
    return found


def _silent(_message: str) -> None:
    """Say nothing."""
