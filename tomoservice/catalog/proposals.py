"""Which recipe to begin with on a new scan, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tomoservice.catalog.likeness import Likeness, ScanConditions, compare
from tomoservice.catalog.recipe_records import Acceptance
from tomoservice.recipe import Recipe, shipped_recipe
from tomoservice.recipe.stages.flat_field import MonitorNormalisation, NoFlatField
from tomoservice.recipe.stages.reconstruction import Iterative

FALLBACK = "default"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A recipe to begin with."""

    recipe: Recipe
    """The recipe as it was accepted, or the shipped default."""
    reason: str
    """Why this one, in a sentence."""
    cautions: tuple[str, ...] = ()
    """What to look at before using it, in sentences."""
    acceptance: Acceptance | None = None
    """Who accepted it for which scan; None for the shipped default."""

    def __repr__(self) -> str:
        return f"<Proposal {self.recipe.name}: {self.reason}>"


def propose(here: ScanConditions, acceptances: Sequence[Acceptance]) -> Proposal:
    """Return the recipe that was accepted last for a scan like this one, else the shipped default.

    Of several, one for the same sample goes first, then one for the same plan, then the latest.

    Parameters
    ----------
    here : ScanConditions
        What the scan is like.
    acceptances : sequence of Acceptance
        What was accepted for which scans, in any order.
    """
    compared = [(accepted, compare(here, accepted.conditions)) for accepted in acceptances]
    alike = [pair for pair in compared if pair[1].alike]
    if not alike:
        return Proposal(shipped_recipe(FALLBACK), _why_none(compared))
    accepted, likeness = max(alike, key=_rank)
    reason = f"{accepted.describe()}: {', '.join(likeness.agreements)}"
    return Proposal(accepted.recipe, reason, tuple(_cautions(accepted)), accepted)


def _rank(pair: tuple[Acceptance, Likeness]) -> tuple[bool, bool, float]:
    accepted, likeness = pair
    return likeness.same_sample, likeness.same_plan, accepted.accepted_at


def _why_none(compared: Sequence[tuple[Acceptance, Likeness]]) -> str:
    if not compared:
        return "no recipe has been accepted for any scan yet; this is the one that comes with the package"
    nearest, likeness = min(compared, key=lambda pair: (len(pair[1].differences), -pair[0].accepted_at))
    return (
        "no recipe has been accepted for a scan like this; this is the one that comes with the package. "
        f"The nearest, {nearest.name}, {nearest.describe()}, differs: {', '.join(likeness.differences)}"
    )


def _cautions(accepted: Acceptance) -> list[str]:
    """Say what in an accepted recipe belongs to the scan that it was accepted for."""
    recipe, cautions = accepted.recipe, []
    if recipe.rotation_axis.method == "value":
        cautions.append(
            f"the rotation axis is given, column {recipe.rotation_axis.value:g}: right as long as nobody has "
            "moved the stage or the camera; rotation_axis: {method: auto} finds it anew"
        )
    if isinstance(recipe.reconstruction, Iterative) and recipe.reconstruction.initial_volume is not None:
        cautions.append(
            f"reconstruction.initial_volume is {recipe.reconstruction.initial_volume!r}, of the scan that it "
            "was accepted for; initial: fbp starts without"
        )
    divided = None if isinstance(recipe.flat_field, NoFlatField) else recipe.flat_field.normalisation
    if isinstance(divided, MonitorNormalisation) and divided != MonitorNormalisation():
        cautions.append(
            "flat_field.normalisation holds readings of a monitor at the scan that it was accepted for; "
            "without values and flat_value it takes those that a scan holds"
        )
    frames = recipe.frames
    for name, given in (
        ("rows", frames.rows != type(frames.rows)()),
        ("columns", frames.columns != type(frames.columns)()),
        ("angles", frames.angles != type(frames.angles)()),
        ("exclude", bool(frames.exclude)),
    ):
        if given:
            cautions.append(f"frames.{name} selects what was right for the scan it was accepted for")
    stated = [
        name
        for name in ("energy_kev", "distance_mm", "pixel_size_um")
        if getattr(recipe.phase, name, None) is not None
    ]
    if stated:
        cautions.append(
            f"phase states {', '.join(stated)}, which take the place of what the scan itself recorded"
        )
    return cautions
