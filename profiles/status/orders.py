"""What writing to a control PV does."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

from profiles.status.setpoints import Setpoints, read_setpoints, setpoints_key, write_setpoints
from tomoservice.catalog.live_nodes import newest_live, wish
from tomoservice.catalog.live_records import LiveMetadata, LivePicture
from tomoservice.catalog.recipes import recipe_called
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.catalog.transport import NotFoundError, child
from tomoservice.client import Job, Tomo
from tomoservice.errors import CatalogError
from tomoservice.recipe import Recipe

logger = logging.getLogger(__name__)

NEWEST: Final = 20
SCAN_MARKS: Final = frozenset({"tomo", "scan_layout"})
"""One of these stands in the start document of a scan, as for a rule that says nothing else."""

MIDDLES: Final = {"z": (LivePicture.XZ, 0), "y": (LivePicture.XY, 0), "x": (LivePicture.XY, 1)}
"""Which picture is as long as the volume along an axis, and along which of its own."""


class Orders:
    """Carries out what is written to the control PVs.

    Parameters
    ----------
    prefix
        What the names of the PVs begin with.
    """

    def __init__(self, prefix: str) -> None:
        self.key = setpoints_key(prefix)

    def choose_recipe(self, tomo: Tomo, name: str) -> None:
        """Choose the recipe of what is asked for next.

        Raises
        ------
        NotFoundError
            No recipe has this name; says which there are.
        """
        # By its name alone: whoever reaches a PV shall not have files read.
        recipe_called(tomo.root, name)
        write_setpoints(tomo.root, self.key, recipe=name)

    def set_axis(self, tomo: Tomo, column: float) -> None:
        """Set the rotation axis, a detector column; NaN for what the recipe says."""
        value = None if math.isnan(column) else column
        write_setpoints(tomo.root, self.key, rotation_axis=value)
        self._wish(tomo, rotation_axis=value)

    def set_delta_beta(self, tomo: Tomo, ratio: float) -> None:
        """Set δ/β of phase retrieval; NaN or 0 for what the recipe says."""
        value = None if math.isnan(ratio) or ratio == 0 else ratio
        write_setpoints(tomo.root, self.key, delta_beta=value)
        self._wish(tomo, delta_beta=value)

    def move_slice(self, tomo: Tomo, axis: str, number: int) -> None:
        """Show another slice (axis ``z``, ``y`` or ``x``); -1 for the one in the middle."""
        value = None if number == -1 else number
        slices = {**read_setpoints(tomo.root, self.key).slices.model_dump(), axis: value}
        write_setpoints(tomo.root, self.key, slices=slices)
        node = _running(tomo)
        if node is not None:
            # There, none means as it is.
            wish(node, {"slices": {axis: _middle(node, axis) if value is None else value}})

    def start(self, tomo: Tomo) -> str:
        """Ask for a reconstruction of the newest scan by the setpoints; return its path.

        A plan that asks may have opened a run for what it measures: a scan that still runs, and what says of
        itself that it is no scan, is passed over.

        Raises
        ------
        CatalogError
            There is no scan that has ended.
        """
        setpoints = read_setpoints(tomo.root, self.key)
        for scan in tomo.scans[:NEWEST]:
            said = tomo.raw[scan.uid].metadata
            if "stop" in said and not SCAN_MARKS.isdisjoint(said.get("start", ())):
                return self._requested(tomo, scan.reconstruct(as_set(tomo, setpoints)))
        raise CatalogError(f"there is no scan that has ended (among the newest {NEWEST} runs)")

    def retake(self, tomo: Tomo) -> str:
        """Do again what was asked for last, from the same raw data by the same values; return its path.

        Raises
        ------
        CatalogError
            Nothing was asked for yet, or it is not finished.
        """
        requested = read_setpoints(tomo.root, self.key).requested
        job = tomo.job(requested) if requested else next(iter(tomo.jobs(most=1)), None)
        if job is None:
            raise CatalogError("there is no reconstruction yet")
        if job.state is State.DONE:
            return self._requested(tomo, job.rerun())
        job.queue_again()
        return self._requested(tomo, job)

    def stop(self, tomo: Tomo) -> None:
        """End the live reconstruction if there is one, else what was asked for last; keep what there is.

        Raises
        ------
        CatalogError
            Nothing runs.
        """
        if self._wish(tomo, stop=True):
            return
        requested = read_setpoints(tomo.root, self.key).requested
        jobs = [tomo.job(requested)] if requested else []
        jobs += tomo.jobs(State.RUNNING, State.QUEUED, State.PAUSED, most=1)
        unfinished = [job for job in jobs if job.state not in FINAL_STATES]
        if not unfinished:
            raise CatalogError("nothing runs that could be stopped")
        unfinished[0].stop()

    def _requested(self, tomo: Tomo, job: Job) -> str:
        write_setpoints(tomo.root, self.key, requested=job.path)
        logger.info("asked for %s", job.path)
        return job.path

    def _wish(self, tomo: Tomo, **wishes: Any) -> bool:
        """Wish something of the live reconstruction, if there is one; tell whether there is."""
        node = _running(tomo)
        if node is None:
            return False
        wish(node, wishes)
        return True


def _running(tomo: Tomo) -> Any:
    """Return the node of the scan that is reconstructed live, or None."""
    node = newest_live(tomo.root)
    return None if node is None or LiveMetadata.of(node).state.is_over else node


def _middle(node: Any, axis: str) -> int | None:
    """Return the number of a live reconstruction's slice in the middle; None before it shows any."""
    picture, dimension = MIDDLES[axis]
    try:
        return int(child(node, picture).shape[dimension]) // 2
    except NotFoundError:
        return None


def as_set(tomo: Tomo, setpoints: Setpoints) -> Recipe:
    """Return the recipe that the setpoints describe.

    Raises
    ------
    RecipeError
        Its phase retrieval knows no δ/β.
    """
    recipe = recipe_called(tomo.root, setpoints.recipe)
    if setpoints.rotation_axis is not None:
        recipe = recipe.changed(rotation_axis={"method": "value", "value": setpoints.rotation_axis})
    if setpoints.delta_beta is not None:
        material = {"method": "delta_beta", "delta_beta": setpoints.delta_beta}
        phase = recipe.phase.model_dump(mode="json")
        known = {"method": "paganin"} if phase["method"] == "none" else phase
        recipe = recipe.changed(phase={**known, "material": material})
    return recipe
