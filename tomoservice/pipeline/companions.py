"""Other scans of the same sample, brought onto the pixels and angles of the one that is reconstructed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError, InputError, MissingDataError, RecipeError
from tomoservice.geometry import typical_gap
from tomoservice.pipeline.beam import Beam, look_at_beam
from tomoservice.pipeline.chain import Chain, chain_up_to_phase, companion, several_distances
from tomoservice.pipeline.pieces import Check
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.references import choose_references
from tomoservice.pipeline.selection import Selection, in_one_turn
from tomoservice.pipeline.stages import WorkingBytes
from tomoservice.prep.phase import Method, PhasePlan, Retrieval, SeveralDistances
from tomoservice.prep.registration import image_shift
from tomoservice.prep.resampling import Axis, resample
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import MonitorNormalisation, NoFlatField
from tomoservice.recipe.stages.phase import ContrastTransferOfSeveral, OtherScan
from tomoservice.scan import Frames, TomoScan
from tomoservice.sources import check_projections

PIECE_BYTES = 16 * 2**20
PIECES_HELD = 3
FLOAT_BYTES = 4
SAME_ANGLE = 0.25
"""Of the typical step between projections: angles that differ by less are the same view."""
LOOKED_AT, ROWS = 3, 512
"""Projections that are registered, and rows of them, at most."""
REGISTRATIONS = 4
"""Times that a picture is moved by the shift that was found, and compared again."""
DOUBTFUL = 0.5
"""Pixels by which the shifts of single projections may differ without a word."""
MOSTLY = 0.98
"""Part of the pixels that another scan must have seen, to go without a word."""


@dataclass(frozen=True, slots=True)
class Companion:
    """Transmissions of another scan on the pixels of the one that is reconstructed; a `stages.Source`."""

    scan: TomoScan
    selection: Selection
    """All of its frames, binned; the views of the other's sinograms."""
    beam: Beam
    chain: Chain
    """What is done to them before the phase is retrieved."""
    rows: Axis
    """Where slices lie among its binned rows."""
    columns: Axis
    """Where binned columns that are kept lie among its binned columns."""
    width: int
    """Columns that are kept."""

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """See `stages.Source`."""
        own, steps = self.columns.length, self.chain.working_bytes(angles, self.columns.length)
        rows = max(self.rows.step, 1.0)
        return WorkingBytes(
            PIECES_HELD * PIECE_BYTES
            + steps.fixed
            + int(2 * (self.rows.reach + self.chain.margin) * angles * own * FLOAT_BYTES),
            int(angles * (columns + rows * own) * FLOAT_BYTES) + int(rows * steps.per_row),
        )

    def sinograms(self, start: int, stop: int, check: Check, /) -> NDArray[np.float32]:
        """See `stages.Source`."""
        low, high = self.rows.needed(start, stop)

        def cancelled() -> bool:
            check()
            return False

        reader = Preprocessor(self.scan, self.selection, self.beam, self.chain, PIECE_BYTES)
        own = reader.sinograms(low, high, cancelled=cancelled)
        return resample(own, low, self.rows, self.columns, (start, stop, self.width))


@dataclass(frozen=True, slots=True)
class Companions:
    """All scans beside the one that is reconstructed."""

    sources: tuple[Companion, ...]
    recipe: Recipe
    """With what was found out about them."""
    notes: tuple[str, ...]
    """What the user should know."""


def look_at_companions(
    recipes: tuple[Recipe, Recipe],
    selection: Selection,
    beam: Beam,
    *,
    again: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> Companions:
    """Find out what has to be known of the scans that a recipe names beside the one that is reconstructed.

    Parameters
    ----------
    recipes
        The recipe as asked, which says whether bad flats are left out; and as far as it is resolved, with
        distances and magnifications.
    selection
        What of the scan is kept.
    beam
        Of the scan, whose companions are open.
    again
        Whether they have been looked at before.
    cancelled
        Asked now and then whether to stop.

    Raises
    ------
    InputError, GeometryError
        If another scan is not usable, or has other angles.
    RecipeError
        If the recipe does not fit it.
    """
    (asked, recipe), scan = recipes, beam.scan
    stage = recipe.phase
    if not isinstance(stage, ContrastTransferOfSeveral):
        return Companions((), recipe, ())
    normalisation = None if isinstance(recipe.flat_field, NoFlatField) else recipe.flat_field.normalisation
    if isinstance(normalisation, MonitorNormalisation) and normalisation != MonitorNormalisation():
        raise RecipeError(
            "flat_field.normalisation: got readings of a monitor, which belong to one scan; with several "
            "distances leave out values and flat_value, so that each scan's own are taken, or use 'border' "
            "or 'region'",
            name=recipe.name or "recipe",
        )
    first = _First(scan, asked, selection, beam, several_distances(stage, binning=1))
    sources, resolved, notes = [], [], []
    for number, other in enumerate(stage.scans, 1):
        source, known, more = _join(first, number, other, again=again, cancelled=cancelled)
        sources.append(source)
        resolved.append(known)
        notes += [f"{other.scan}: {note}" for note in more]
    changed = recipe.changed(phase=stage.model_copy(update={"scans": tuple(resolved)}))
    return Companions(tuple(sources), changed, tuple(notes))


@dataclass(frozen=True, slots=True)
class _First:
    """The scan that is reconstructed."""

    scan: TomoScan
    recipe: Recipe
    """As asked."""
    selection: Selection
    beam: Beam
    distances: SeveralDistances


def _join(
    first: _First, number: int, other: OtherScan, *, again: bool, cancelled: Callable[[], bool] | None
) -> tuple[Companion, OtherScan, list[str]]:
    """Return the scan at distance `number`, what was found out about it, and what the user should know."""
    scan = companion(first.scan, other.scan)
    recipe = _recipe_for(other, first.recipe, scan)
    selection = _views(scan, first)
    references = choose_references(scan, recipe.flat_field)
    notes = [*scan.notes, *references.notes]
    if references.hopeless:
        raise InputError(scan.origin.location, f"none of the flats is of use: {'; '.join(references.notes)}")
    if not again:
        notes += check_projections(scan, selection.projections, most_lost=0).notes
    beam = look_at_beam(scan, recipe, selection, references, piece_bytes=PIECE_BYTES, cancelled=cancelled)
    left_out = {
        f"exclude_{kind}": tuple(np.setdiff1d(np.arange(_count(frames)), used).tolist())
        for kind, frames, used in (
            ("flats", scan.flats, references.flats),
            ("darks", scan.darks, references.darks),
        )
    }
    known = other.model_copy(update=left_out)
    if other.shift is None:
        shift, spread = _found_shift(first, number, other, (scan, selection, beam))
        known = known.model_copy(update={"shift": shift})
        notes.append(f"moved by {shift[0]:.2f} rows and {shift[1]:.2f} columns")
        if spread > DOUBTFUL:
            notes.append(
                f"single projections are moved by up to {spread:.1f} pixels more or less: did the sample "
                "move? Compare, and give the shift in phase.scans"
            )
    rows, columns = _axes(first, scan, known, binned=True)
    source = Companion(
        scan, selection, beam, chain_up_to_phase(recipe, selection), rows, columns, first.selection.width
    )
    seen = rows.covers(first.selection.slices) * columns.covers(first.selection.width)
    if seen < MOSTLY:
        notes.append(f"shows only {seen:.0%} of the pixels; beyond, its outermost ones are repeated")
    return source, known, notes


def _count(frames: Frames | None) -> int:
    return 0 if frames is None else frames.shape[0]


def _recipe_for(other: OtherScan, recipe: Recipe, scan: TomoScan) -> Recipe:
    """Return the recipe by which another scan is corrected."""
    stage = recipe.flat_field
    if isinstance(stage, NoFlatField):
        return recipe
    if not _count(scan.flats):
        raise MissingDataError(
            scan.origin.location, "the scan has no flats", hint="A scan at another distance needs its own"
        )
    excluded = {"exclude_flats": other.exclude_flats, "exclude_darks": other.exclude_darks}
    return recipe.changed(flat_field=stage.model_copy(update=excluded))


def _views(scan: TomoScan, first: _First) -> Selection:
    """Return all pixels of another scan, and those of its projections that show the same views."""
    kept, taken = first.selection, first.scan.angles_deg
    tolerance = SAME_ANGLE * typical_gap(np.diff(np.unique(kept.angles_deg)))
    if scan.angles_deg.shape == taken.shape and np.abs(scan.angles_deg - taken).max() <= tolerance:
        numbers = np.empty_like(kept.projections)
        numbers[kept.places] = kept.projections
    else:
        numbers = _nearest(scan, first, tolerance)
    in_order = np.argsort(numbers)
    binning = kept.binning
    rows, columns = (length // binning * binning for length in scan.shape[1:])
    if not rows or not columns:
        raise InputError(scan.origin.location, f"frames are smaller than a binned pixel ({binning})")
    return Selection(
        rows=slice(0, rows),
        columns=slice(0, columns),
        projections=numbers[in_order],
        places=in_order,
        binning=binning,
        angles_deg=kept.angles_deg,
        frame_rows=scan.shape[1],
    )


def _nearest(scan: TomoScan, first: _First, tolerance: float) -> NDArray[np.intp]:
    """Return the projection of another scan that is nearest to each line of the first one's sinograms."""
    wanted, there = first.selection.angles_deg, in_one_turn(scan.angles_deg)
    order = np.argsort(there, kind="stable")
    upper = np.clip(np.searchsorted(there[order], wanted), 1, max(there.size - 1, 1))
    pair = np.stack([order[upper - 1], order[np.minimum(upper, there.size - 1)]])
    numbers: NDArray[np.intp] = pair[np.argmin(np.abs(there[pair] - wanted), axis=0), np.arange(wanted.size)]
    off = np.abs(there[numbers] - wanted)
    worst = int(np.argmax(off))
    if off[worst] > tolerance:
        raise GeometryError(
            f"{scan.origin.location} has no projection at {wanted[worst]:.6g} degrees, the nearest is at "
            f"{there[numbers[worst]]:.6g}; scans at several distances must show the same views (leave others "
            "out by frames.exclude)"
        )
    if np.unique(numbers).size < numbers.size:
        raise GeometryError(
            f"{scan.origin.location} has one projection where {first.scan.origin.location} has several; "
            "leave the others out by frames.exclude"
        )
    return numbers


def _axes(first: _First, scan: TomoScan, other: OtherScan, *, binned: bool) -> tuple[Axis, Axis]:
    """Return where the rows and columns of the first scan lie in the frames of another one.

    Of the first scan's selection and in binned pixels, or of its whole frames.
    """
    kept, scale = first.selection, other.magnification or 1.0
    binning = kept.binning if binned else 1
    begins = (kept.rows.start, kept.columns.start) if binned else (0, 0)
    axes = []
    for begin, ours, theirs, shift in zip(
        begins, first.scan.shape[1:], scan.shape[1:], other.shift or (0.0, 0.0), strict=True
    ):
        middle = begin + (binning - 1) / 2
        place = (theirs - 1) / 2 + shift + scale * (middle - (ours - 1) / 2)
        axes.append(Axis((place + 0.5) / binning - 0.5, scale, theirs // binning))
    return axes[0], axes[1]


def _found_shift(
    first: _First, number: int, other: OtherScan, its: tuple[TomoScan, Selection, Beam]
) -> tuple[tuple[float, float], float]:
    """Register a few projections; return the shift, and by how much theirs differ, in unbinned pixels."""
    count = first.selection.angles_deg.size
    lines = tuple(sorted({round(i * (count - 1) / LOOKED_AT) for i in range(LOOKED_AT)}))
    middle = first.scan.shape[1] // 2
    rows = slice(max(middle - ROWS // 2, 0), min(middle + ROWS // 2, first.scan.shape[1]))
    ours = Preprocessor(first.scan, first.selection, first.beam, Chain(None)).projections(lines, rows)
    reference = _without_fringes(ours, first.distances, 0)
    scan, selection, beam = its
    whole = slice(0, scan.shape[1])
    frames = Preprocessor(scan, selection, beam, Chain(None)).projections(lines, whole)
    sinograms = np.ascontiguousarray(frames.transpose(1, 0, 2))
    scale = other.magnification or 1.0
    shifts = np.zeros((len(lines), 2))
    for line, picture in enumerate(reference):
        for _ in range(REGISTRATIONS):
            placed = other.model_copy(update={"shift": (float(shifts[line, 0]), float(shifts[line, 1]))})
            down, across = _axes(first, scan, placed, binned=False)
            one = np.ascontiguousarray(sinograms[:, line : line + 1])
            moved = resample(one, 0, down, across, (rows.start, rows.stop, picture.shape[1]))
            seen = _without_fringes(moved.transpose(1, 0, 2), first.distances, number)[0]
            shifts[line] += scale * np.array(image_shift(picture, seen))
    found = np.median(shifts, axis=0)
    return (float(found[0]), float(found[1])), float(np.abs(shifts - found).max())


def _without_fringes(
    projections: NDArray[np.float32], distances: SeveralDistances, number: int
) -> NDArray[np.float32]:
    """Return pictures that look alike whatever the distance, by Paganin's method."""
    how = Retrieval(method=Method.PAGANIN, delta_beta=distances.delta_beta, space=distances.spaces[number])
    return PhasePlan(how, *projections.shape[1:]).execute(np.ascontiguousarray(projections))
