"""A document callback that asks for a reconstruction when a scan ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from callbacks.delivery import Delivery
from callbacks.recipe_names import DEFAULT_RECIPE, is_file_name, settled
from callbacks.rules import Decider, Decision, Rules
from callbacks.spool import ReconstructionRequest, Spool
from callbacks.spooling import SpoolingCallback
from tomoservice.catalog.names import triggered_reconstruction_id
from tomoservice.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes

logger = logging.getLogger(__name__)

MOST_OPEN_RUNS = 1000
"""Starts kept while their stops are awaited, and the other way round; more than that will never come."""


class ReconstructionTrigger(SpoolingCallback):
    """Asks for a reconstruction of every run that the rules want.

    Subscribe it to a RunEngine or to any other source of documents; neither the order of subscriptions nor
    that of start and stop documents matters, nor whether documents come twice. It writes a request to disk,
    which is all that the RunEngine waits for; a thread delivers it once the run is complete in Tiled. With
    the service down the request stays on disk, and is delivered when the service is back, by this process or
    by the next one with the same spool.

    Whatever happens inside, nothing is raised into the RunEngine and no document is changed.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write; by default ``TILED_API_KEY`` from the environment.
    recipe : Recipe, Path or str
        What to do with a run for which neither its plan (``tomo.recipe`` in the start document) nor the rules
        name a recipe. A name or file that a plan gives is looked up when the request is delivered; one that
        is wrong is put aside below the spool, in ``refused``.
    spool : Path or str
        Folder for requests that have not been delivered.
    rules : Rules or RuleFile, optional
        Which runs are reconstructed, and how; by default every run whose start document has a `tomo` or a
        `scan_layout` entry.
    files : bool
        Whether a plan may name a file as its recipe; not if anybody can send documents here, as whoever names
        a file has it read on this machine.

    Raises
    ------
    RecipeError
        The recipe is wrong or cannot be found.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None = None,
        recipe: Recipe | Path | str = DEFAULT_RECIPE,
        *,
        spool: Path | str,
        rules: Decider | None = None,
        files: bool = True,
    ) -> None:
        self._recipe = _checked(recipe)
        self._rules: Decider = Rules() if rules is None else rules
        self._files = files
        self._spool = Spool(Path(spool))
        self._spool.forget_old_starts()
        self._starts: dict[str, Mapping[str, Any]] = {}
        self._stops: dict[str, Mapping[str, Any]] = {}
        self._delivery = Delivery(self._spool, uri, api_key)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Look at a document."""
        try:
            # A run does not outlive the process of its RunEngine.
            self._take(name, doc, across_processes=False)
        except Exception:
            logger.warning("a %s document could not be handled; no reconstruction", name, exc_info=True)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Look at a document; for whoever can bring it again later.

        The run's other documents may come to another process with the same spool.

        Raises
        ------
        OSError
            What has to be kept of it cannot be written to disk.
        KeyError
            The document lacks what every document of its kind has.
        """
        self._take(name, doc, across_processes=True)

    def _take(self, name: str, doc: Mapping[str, Any], *, across_processes: bool) -> None:
        if name == "start":
            uid = str(doc["uid"])
            _keep(self._starts, uid, dict(doc))
            if uid in self._stops:
                self._finish(self._stops[uid])
            elif across_processes:
                self._spool.put_start(uid, doc)
        elif name == "stop":
            self._finish(doc)

    def is_settled(self) -> bool:
        """Tell whether no request is left on disk."""
        return not self._spool.pending()

    def close(self, timeout_s: float = 60.0) -> None:
        """Deliver what can be delivered now, and end the thread. The rest stays on disk."""
        self._delivery.close(timeout_s)

    def _finish(self, stop: Mapping[str, Any]) -> None:
        uid = str(stop["run_start"])
        start = self._starts.get(uid) or self._spool.start(uid)
        if start is None:
            # It may come later, or never.
            _keep(self._stops, uid, dict(stop))
            return
        decision = self._rules.decide(start, stop)
        if decision.reconstruct:
            self._ask(uid, start, decision)
        else:
            level = logging.WARNING if decision.is_wrong else logging.DEBUG
            logger.log(level, "run %s is not reconstructed: %s", uid, decision.reason)
        # Only now: what raises before can be tried again.
        self._starts.pop(uid, None)
        self._stops.pop(uid, None)
        self._spool.forget_start(uid)

    def _ask(self, uid: str, start: Mapping[str, Any], decision: Decision) -> None:
        recipe = self._recipe if decision.recipe is None else decision.recipe
        if decision.is_the_plans and isinstance(recipe, str) and is_file_name(recipe) and not self._files:
            logger.warning(
                "run %s is not reconstructed: its plan names a file, %r, and for documents from elsewhere "
                "none is read; save the recipe in the service and name that, or let the plan bring it whole",
                uid,
                recipe,
            )
            return
        try:
            request = ReconstructionRequest(
                reconstruction_id=triggered_reconstruction_id(uid, _name_of(recipe)),
                run_uid=uid,
                recipe=settled(recipe) if isinstance(recipe, str) else dict(recipe),
                volume=decision.volume,
                priority=decision.priority,
                requested_by=f"trigger ({start.get('plan_name', 'unknown plan')})",
            )
        except ValidationError as error:
            logger.warning("run %r is not reconstructed: %s", uid, error)
            return
        self._spool.put(request)
        self._delivery.wake()


def _keep(kept: dict[str, Mapping[str, Any]], uid: str, doc: Mapping[str, Any]) -> None:
    while len(kept) >= MOST_OPEN_RUNS:
        kept.pop(next(iter(kept)))
    kept[uid] = doc


def _checked(recipe: Recipe | Path | str) -> Mapping[str, Any] | str:
    """Return the content of a recipe, or the name of one that the package ships."""
    if isinstance(recipe, Recipe):
        return recipe.dump()
    return recipe if recipe in shipped_recipes() else load_recipe(recipe).dump()


def _name_of(recipe: Mapping[str, Any] | str) -> str:
    """Return by what two requests for the same run are the same: everywhere the same name or content."""
    return settled(recipe) if isinstance(recipe, str) else parse_recipe(recipe).hash
