"""Plans that look at what they have measured before they go on."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from bluesky.utils import Msg

from profiles.beamline import Beamline
from profiles.feedback import ReconstructionResult, reconstruct_and_wait
from profiles.plans import tomo_fly

if TYPE_CHECKING:
    from tomoservice.client import Tomo
    from tomoservice.client.recipes import RecipeLike


def tomo_until_converged(
    beamline: Beamline,
    tomo: Tomo,
    *,
    first: int = 45,
    most: int = 1440,
    tolerance: float = 0.1,
    recipe: RecipeLike = "default",
) -> Generator[Msg, Any, list[ReconstructionResult]]:
    """Scan with twice as many projections each time, until the reconstruction hardly changes any more.

    For samples that take no harm from a scan too many, to find out how many projections they need.

    Parameters
    ----------
    beamline : Beamline
        Where to scan.
    tomo : Tomo
        The service, as `tomoservice.connect` returns it; runs have to be published there.
    first : int
        Projections of the first scan.
    most : int
        More than so many are never taken.
    tolerance : float
        It has converged when the central slice differs from that of the scan before by less than this
        share of its contrast (rms).
    recipe : Recipe, mapping, Path or str
        How to reconstruct.

    Returns
    -------
    list of ReconstructionResult
        One per scan; the last is of the scan that was enough, or of the one with the most projections.
    """
    results: list[ReconstructionResult] = []
    projections = first
    while projections <= most:
        # The plan reconstructs what it needs; nobody else has to.
        uid = yield from tomo_fly(beamline, projections, md={"tomo": {"reconstruct": False}})
        result = yield from reconstruct_and_wait(tomo, uid, recipe)
        results.append(result)
        if len(results) > 1 and result.change_from(results[-2]) < tolerance:
            break
        projections *= 2
    return results
