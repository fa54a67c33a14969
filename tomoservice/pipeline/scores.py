"""How strong stripes and rings are, before and after what the recipe does about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.chain import stripe_method
from tomoservice.pipeline.options import slice_options
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.prep.stripes import StripeMethod, remove_stripes, stripe_score
from tomoservice.recipe.stages.reconstruction import FourierFbp
from tomoservice.recipe.stages.rings import PolarRings as PolarRingStage
from tomoservice.recipe.stages.stripes import NoStripes, SortingStripes
from tomoservice.recon import get_reconstructor
from tomoservice.recon.rings import PolarRings, remove_rings, ring_score
from tomoservice.scan import TomoScan
from tomoservice.threads import for_each

DEFAULT = FourierFbp()
ROWS = 3
"""Slices that are looked at."""


@dataclass(frozen=True, slots=True)
class RingScores:
    """Scores of one slice; see `stripe_score` and `ring_score`: about 0 is none, 1 as strong as the noise."""

    z: int
    """Slice of the volume."""
    stripes_before: float
    """Of the sinogram as it was recorded."""
    stripes_after: float
    """Of the sinogram after the removal of stripes."""
    rings_before: float
    """Of the slice from the sinogram as it was recorded."""
    rings_after: float
    """Of the slice after the removal of stripes and of rings."""


@dataclass(frozen=True, slots=True)
class RingReport:
    """How strong stripes and rings are in a few slices."""

    removal: str
    """What was done: the recipe's methods; or what could be done, where the recipe does nothing."""
    asked: bool
    """Whether the recipe asks for it."""
    scores: tuple[RingScores, ...]

    @property
    def before(self) -> float:
        """Ring score of the middle slice without any removal."""
        return self.scores[len(self.scores) // 2].rings_before

    @property
    def after(self) -> float:
        """Ring score of the middle slice with it."""
        return self.scores[len(self.scores) // 2].rings_after


def score_rings(
    plan: Plan, scan: TomoScan, *, rows: int = ROWS, cancelled: Callable[[], bool] | None = None
) -> RingReport:
    """Score a few slices before and after the removal of stripes and rings.

    Slices are made from what the flat field leaves, by the default method in full detail: other stages would
    hide rings or make them. Where the recipe removes nothing, the score after is what the method ``sorting``
    would reach.

    Parameters
    ----------
    plan
        From `prepare`, for the same scan.
    scan
        The scan; a few rows are read.
    rows
        Slices that are looked at, spread over the height.
    cancelled
        Asked between pieces whether to stop.

    Raises
    ------
    CancelledError
        If `cancelled` said so.
    """
    recipe = plan.resolved
    stage = recipe.stripes
    rings = recipe.rings if isinstance(recipe.rings, PolarRingStage) else None
    asked = rings is not None or not isinstance(stage, NoStripes)
    if not asked:
        stage = SortingStripes()
    method = None if isinstance(stage, NoStripes) else stripe_method(stage)
    polar = None if rings is None else PolarRings(**rings.model_dump(exclude={"method"}))
    named = [f"stripes.method '{stage.method}'"] if method is not None else []
    named += [f"rings.method '{rings.method}'"] if rings is not None else []
    count = min(rows, plan.shape[0])
    chosen = sorted({plan.shape[0] * (2 * i + 1) // (2 * count) for i in range(count)})
    scores = tuple(_score(plan, scan, z, method, polar, cancelled) for z in chosen)
    return RingReport(" and ".join(named), asked, scores)


def _score(
    plan: Plan,
    scan: TomoScan,
    z: int,
    method: StripeMethod | None,
    polar: PolarRings | None,
    cancelled: Callable[[], bool] | None,
) -> RingScores:
    pre = Preprocessor(scan, plan.selection, plan.beam, plan.chain.without_steps())
    recorded = pre.sinograms(z, z + 1, cancelled=cancelled)
    removed = recorded if method is None else remove_stripes(recorded, method)
    # Two slices cost little more than one: the transform is complex.
    pair = np.concatenate([recorded, removed])
    slices = _slices(plan, z, pair)
    if polar is not None:
        remove_rings(slices[1:], polar, out=slices[1:])
    stripes, rings = [0.0, 0.0], [0.0, 0.0]

    def score(index: int) -> None:
        stripes[index], rings[index] = stripe_score(pair[index]), ring_score(slices[index])

    for_each(score, range(2))
    return RingScores(z, *stripes, *rings)


def _slices(plan: Plan, z: int, sinograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return slices (sinogram, y, x) from sinograms (sinogram, angle, column) that all belong to `z`."""
    half = plan.resolved.reconstruction.half_acquisition
    options = slice_options(DEFAULT.model_copy(update={"half_acquisition": half}), plan.size)
    recon = get_reconstructor(DEFAULT.method).plan(plan.selection.angles_deg, plan.selection.width, options)
    return recon.execute(sinograms, np.repeat(plan.axes(z, z + 1), len(sinograms)))
