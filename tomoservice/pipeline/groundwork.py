"""What a look at a scan's frames shows, before any stage that a user turns knobs of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.beam import Beam, about_monitor, look_at_beam
from tomoservice.pipeline.blind_rows import about_blind_rows, blind_rows
from tomoservice.pipeline.checks import check_scan
from tomoservice.pipeline.memory import piece_bytes
from tomoservice.pipeline.plausibility import check_transmission
from tomoservice.pipeline.selection import Selection
from tomoservice.recipe import Recipe
from tomoservice.scan import TomoScan

STAGES = ("frames", "flat_field", "minus_log")
"""The stages of a recipe that it depends on."""


@dataclass(frozen=True, slots=True)
class Groundwork:
    """What a look at the frames has shown; the same for all recipes that share their `ground_stages`."""

    selection: Selection
    """What is left to reconstruct from."""
    lost: NDArray[np.integer[Any]]
    """Projections that are left out because they hold nothing."""
    beam: Beam
    """What projections are divided by."""
    blind_rows: tuple[int, ...]
    """Detector rows that are kept but have seen nothing."""
    notes: tuple[str, ...]
    """What the user should know."""


def ground_stages(recipe: Recipe) -> Recipe:
    """Return the part of a recipe that the groundwork depends on; the rest has its defaults."""
    return Recipe(**{name: getattr(recipe, name) for name in STAGES})


def lay_groundwork(  # noqa: PLR0913 - what is looked at, and three ways to steer it
    scan: TomoScan,
    recipe: Recipe,
    selection: Selection,
    budget: int,
    *,
    again: bool = False,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> Groundwork:
    """Look at the frames: flats, darks, a few projections.

    `again` leaves out what only finds mistakes, because the recipe was resolved on this very scan.

    Raises
    ------
    InputError
        If the scan is not usable: names file, data set and cause.
    GeometryError
        If the angles make no tomogram.
    CancelledError
        If `cancelled` said so.
    """
    progress("checking the scan")
    checked = check_scan(scan, recipe, selection, again=again)
    progress("looking at the beam")
    beam = look_at_beam(
        scan,
        recipe,
        checked.selection,
        checked.references,
        piece_bytes=piece_bytes(budget),
        cancelled=cancelled,
    )
    notes = [*checked.notes, *about_monitor(beam)]
    if not again:
        notes += check_transmission(scan, recipe, checked.selection, beam)
    blind = blind_rows(scan, recipe, checked.selection, checked.references)
    notes += about_blind_rows(blind)
    return Groundwork(checked.selection, checked.lost, beam, blind, tuple(notes))
