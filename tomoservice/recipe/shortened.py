"""Recipes that end early: what a scan looks like after one stage and before the next."""

from __future__ import annotations

from enum import StrEnum

from tomoservice.recipe.model import Recipe
from tomoservice.recipe.stages.beam_hardening import NoBeamHardening
from tomoservice.recipe.stages.outliers import NoOutliers
from tomoservice.recipe.stages.phase import NoPhase
from tomoservice.recipe.stages.rings import NoRings
from tomoservice.recipe.stages.stripes import NoStripes


class StageName(StrEnum):
    """The stages after which one can look, in physical order."""

    FLAT_FIELD = "flat_field"
    OUTLIERS = "outliers"
    STRIPES = "stripes"
    PHASE = "phase"
    BEAM_HARDENING = "beam_hardening"
    RECONSTRUCTION = "reconstruction"
    RINGS = "rings"


NOTHING = {
    StageName.OUTLIERS: NoOutliers(),
    StageName.STRIPES: NoStripes(),
    StageName.PHASE: NoPhase(),
    StageName.BEAM_HARDENING: NoBeamHardening(),
    StageName.RINGS: NoRings(),
}
"""What takes the place of a stage that is left out; the others cannot be."""


def up_to(recipe: Recipe, last: StageName) -> Recipe:
    """Return a recipe without the optional stages after `last`.

    The logarithm and the reconstruction stay: line integrals and slices are shown, whatever stage comes last.
    """
    order = list(StageName)
    later = order[order.index(last) + 1 :]
    return recipe.changed(**{stage.value: NOTHING[stage] for stage in later if stage in NOTHING})
