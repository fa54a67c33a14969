"""A document callback that asks for a reconstruction when a scan ends."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from callbacks.delivery import Delivery
from callbacks.rule import TriggerRule
from callbacks.spool import ReconstructionRequest, Spool
from tomoservice.catalog.names import triggered_reconstruction_id
from tomoservice.errors import RecipeError
from tomoservice.recipe import Recipe, load_recipe, parse_recipe

logger = logging.getLogger(__name__)

MOST_OPEN_RUNS = 1000
"""Starts kept while their stops are awaited; more than that are runs that will never stop."""


RECIPE_SUFFIXES = {".yml", ".yaml", ".json"}


class ReconstructionTrigger:
    """Queues a reconstruction for every run that a rule wants.

    Subscribe it to a RunEngine or to any other source of documents; the order of subscriptions does
    not matter. It writes a request to disk, which is all that the RunEngine waits for; a thread
    delivers it once the run is complete in Tiled. With the service down the request stays on disk, and
    is delivered when the service is back, by this process or by the next one with the same spool.

    Whatever happens inside, nothing is raised into the RunEngine and no document is changed.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write; by default ``TILED_API_KEY`` from the environment.
    recipe : Recipe, Path or str
        What to do with a run whose start document names no recipe of its own (``tomo.recipe``: the
        name of a recipe, a file, or its content). A name or file is looked up when the request is
        delivered; one that is wrong is put aside below the spool, in ``refused``.
    spool : Path or str
        Folder for requests that have not been delivered.
    rule : TriggerRule, optional
        Which runs are reconstructed.

    Raises
    ------
    RecipeError
        The recipe is wrong or cannot be found.
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None = None,
        recipe: Recipe | Path | str = "default",
        *,
        spool: Path | str,
        rule: TriggerRule | None = None,
    ) -> None:
        self._recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        self._rule = rule or TriggerRule()
        self._spool = Spool(Path(spool))
        self._open_runs: dict[str, Mapping[str, Any]] = {}
        self._delivery = Delivery(self._spool, uri, api_key)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Look at a document."""
        try:
            if name == "start":
                self._remember(doc)
            elif name == "stop":
                self._finish(doc)
        except Exception:
            logger.warning("a %s document could not be handled; no reconstruction", name, exc_info=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is left to deliver; tell whether that is so."""
        deadline = time.monotonic() + timeout_s
        while self._spool.pending():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self, timeout_s: float = 60.0) -> None:
        """Deliver what can be delivered now, and end the thread. The rest stays on disk."""
        self._delivery.close(timeout_s)

    def _remember(self, start: Mapping[str, Any]) -> None:
        while len(self._open_runs) >= MOST_OPEN_RUNS:
            self._open_runs.pop(next(iter(self._open_runs)))
        kept = ("plan_name", "tomo", "scan_layout")
        self._open_runs[str(start["uid"])] = {key: start[key] for key in kept if key in start}

    def _finish(self, stop: Mapping[str, Any]) -> None:
        uid = str(stop["run_start"])
        start = self._open_runs.pop(uid, {})
        if not self._rule.wants(start, stop):
            return
        recipe = self._choose(start, uid)
        if recipe is None:
            return
        key = recipe.hash if isinstance(recipe, Recipe) else recipe
        try:
            request = ReconstructionRequest(
                reconstruction_id=triggered_reconstruction_id(uid, key),
                run_uid=uid,
                recipe=recipe.dump() if isinstance(recipe, Recipe) else recipe,
                requested_by=f"trigger ({start.get('plan_name', 'unknown plan')})",
            )
        except ValidationError as error:
            logger.warning("run %r is not reconstructed: %s", uid, error)
            return
        self._spool.put(request)
        self._delivery.wake()

    def _choose(self, start: Mapping[str, Any], uid: str) -> Recipe | str | None:
        tomo = start.get("tomo")
        own = tomo.get("recipe") if isinstance(tomo, Mapping) else None
        if own is None:
            return self._recipe
        if not isinstance(own, Mapping):
            return _reference(str(own))
        try:
            return parse_recipe(own)
        except RecipeError as error:
            # Another recipe than the one asked for would be worse than none.
            logger.warning("run %s is not reconstructed, its plan names a wrong recipe: %s", uid, error)
            return None


def _reference(text: str) -> str:
    """Return the name or file of a recipe so that another process, in another folder, finds the same.

    The file itself is not looked at: it may be on storage that does not answer.
    """
    is_file = os.sep in text or Path(text).suffix.lower() in RECIPE_SUFFIXES
    return str(Path(text).absolute()) if is_file else text
