"""Reconstructions as rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.queue import UNFINISHED, Waiting, look_at_unfinished
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.errors import CatalogError

HEAD = ("job", "state", "progress", "priority", "sample", "recipe", "asked", "by", "message")


@dataclass(frozen=True, slots=True)
class JobRow:
    """One reconstruction, as a person wants to see it in a list."""

    path: str
    """Path of the node in Tiled."""
    state: str
    """State, or "spoilt"."""
    progress: str
    """How far it is, while it runs."""
    priority: str
    """How urgent it is, while it is not finished."""
    sample: str
    """Name of the sample."""
    recipe: str
    """Name of the recipe."""
    asked: str
    """When it was asked for, local time."""
    by: str
    """Who asked."""
    message: str
    """Why it failed, say."""

    def cells(self) -> tuple[str, ...]:
        """Return what stands below the titles in `HEAD`."""
        run, _, key = self.path.removeprefix("processed/").partition("/")
        job = f"{run[:8]}/{key}"
        head = (job, self.state, self.progress, self.priority, self.sample)
        return *head, self.recipe, self.asked, self.by, self.message


class SampleNames:
    """Names of samples by the uid of a run; each run is looked at once.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[str, str] = {}

    def __call__(self, run_uid: str) -> str:
        """Return the name of the run's sample; empty if it has none, or the run is gone."""
        if run_uid not in self._known:
            self._known[run_uid] = self._look_up(run_uid)
        return self._known[run_uid]

    def _look_up(self, run_uid: str) -> str:
        try:
            start = find_run(self._root, run_uid).metadata.get("start", {})
        except CatalogError:
            return ""
        return str(start.get("sample_name") or "")


class Outlook:
    """What is wanted of reconstructions that are not finished; all are asked for at once, when one is.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: Mapping[str, Waiting] | None = None

    def __call__(self, node: Any) -> Waiting | None:
        """Return what is wanted of a node; None of one that is finished."""
        if node.metadata.get("status", {}).get("state") not in UNFINISHED:
            return None
        if self._known is None:
            self._known = {waiting.path: waiting for waiting in look_at_unfinished(self._root)}
        return self._known.get("/".join(node.path_parts))


def job_row(
    node: Any, progress: Mapping[str, Any], sample: str = "", waiting: Waiting | None = None
) -> JobRow:
    """Return the row of a reconstruction's node, as it was read last.

    Parameters
    ----------
    node : tiled Container
        The reconstruction.
    progress : mapping
        Metadata of its progress; only used while it runs.
    sample : str
        Name of the sample.
    waiting : Waiting, optional
        What is wanted of it, if it is not finished.
    """
    try:
        record = ReconstructionRecord.from_node(node)
    except CatalogError as error:
        return JobRow("/".join(node.path_parts), "spoilt", "", "", sample, "", "", "", str(error))
    metadata = record.metadata
    return JobRow(
        path=record.path,
        state=record.state.value,
        progress=_progress(progress) if record.state is State.RUNNING else "",
        priority="" if waiting is None else waiting.priority.value,
        sample=sample,
        recipe=metadata.recipe_name or (metadata.recipe_hash or "")[:8],
        asked=_moment(metadata.requested_at or metadata.status.time or None),
        by=metadata.requested_by or "",
        message=_wanted(waiting) or metadata.status.message,
    )


def _wanted(waiting: Waiting | None) -> str:
    """Return what is going to happen to a reconstruction, or why nothing does."""
    if waiting is None or waiting.wishes.verb is None or waiting.state == State.PAUSED:
        return ""
    if not waiting.wishes.is_of_batch:
        return f"asked to {waiting.wishes.verb.value}"
    return "its batch is paused" if waiting.is_held else f"its batch is asked to {waiting.wishes.verb.value}"


def counted_states(states: Iterable[str]) -> str:
    """Return how many reconstructions are in which state, in words; empty if there are none."""
    counted = Counter(states)
    return ", ".join(f"{counted[state.value]} {state.value}" for state in State if state.value in counted)


def _progress(progress: Mapping[str, Any]) -> str:
    if not progress:
        return ""
    left = progress.get("seconds_left")
    parts = (
        f"{progress.get('percent', 0):.0f} %",
        str(progress.get("stage", "")),
        "" if left is None else f"{left:.0f} s left",
    )
    return ", ".join(part for part in parts if part)


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
