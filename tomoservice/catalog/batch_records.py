"""Batches as typed records: many runs by one recipe or several, and how far that is.

A batch says which reconstructions belong to it and nothing about them: each is a reconstruction like any
other, and only its own node says how it fares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tomoservice.catalog import names
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.catalog.record import ReconstructionRecord, first_problem, plain
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.recipe import parse_recipe

MOST_ITEMS = 10_000
"""Reconstructions of a batch, at most."""
MOST_RECIPES = 100
"""Recipes of a batch, at most: each is checked whenever the batch is read."""
LONGEST_KEY = 100
"""Characters of a batch's key, at most: keys of its items are longer."""


class BatchState(StrEnum):
    """Where a batch as a whole stands; follows from its items and from what is wanted of it."""

    SUBMITTING = "submitting"
    """The service is making its items."""
    REFUSED = "refused"
    """The service does not make its items; the message says why."""
    QUEUED = "queued"
    """No item has been begun."""
    RUNNING = "running"
    """Items are computed, or wait for their turn."""
    PAUSED = "paused"
    """No item is begun until somebody resumes it."""
    ENDING = "ending"
    """Cancelled or stopped; the last items are on their way out."""
    FINISHED = "finished"
    """Every item is done, failed or cancelled."""


class BatchMetadata(BaseModel):
    """Metadata of a batch's node; more may stand beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    runs: tuple[str, ...] = Field(min_length=1, max_length=MOST_ITEMS)
    """Uids of the runs."""
    recipes: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=MOST_RECIPES)
    """Recipes, by each of which every run is reconstructed."""
    name: str = Field(default="", max_length=200, pattern=names.TEXT_PATTERN)
    """What people call it."""
    priority: JobPriority = JobPriority.BACKGROUND
    """How urgent its items are."""
    requested_by: str = ""
    """Who asked for it."""
    requested_at: float = 0.0
    """When, in seconds since 1970."""
    submitted: bool = False
    """Whether the service is done with making the items, or with refusing to."""
    message: str = ""
    """Why it refused."""

    @model_validator(mode="after")
    def _is_not_too_large(self) -> Self:
        items = len(self.runs) * len(self.recipes)
        if items > MOST_ITEMS:
            raise ValueError(f"{items} reconstructions are more than {MOST_ITEMS}; ask for several batches")
        return self

    @field_validator("priority")
    @classmethod
    def _can_be_asked_for(cls, priority: JobPriority) -> JobPriority:
        if priority not in ASKED_FOR:
            raise ValueError(f"{priority.value!r} cannot be asked for")
        return priority

    @field_validator("recipes")
    @classmethod
    def _are_sound(cls, recipes: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        hashes = []
        for number, recipe in enumerate(recipes):
            try:
                hashes.append(parse_recipe(recipe).hash)
            except RecipeError as error:
                raise ValueError(f"{number}: {'; '.join(error.problems)}") from error
        if len(set(hashes)) < len(hashes):
            raise ValueError("two of them are the same")
        return recipes

    @field_validator("runs")
    @classmethod
    def _are_different(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        for run in runs:
            if not names.is_key(run):
                raise ValueError(f"{run!r} is no uid of a run")
        twice = [run for run, count in Counter(runs).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands there twice")
        return runs

    @property
    def recipe_names(self) -> list[str]:
        """What the recipes are called: by name, else by the beginning of their hash; each different."""
        parsed = [parse_recipe(recipe) for recipe in self.recipes]
        called = [recipe.name or recipe.hash[:8] for recipe in parsed]
        counts = Counter(called)
        return [
            name if counts[name] == 1 else f"{name}-{recipe.hash[:8]}"
            for name, recipe in zip(called, parsed, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Which run by which recipe, and where that is."""

    batch_id: str
    number: int
    """From 1; runs first, then recipes: with two recipes, 1 and 2 are the first run."""
    run_uid: str
    recipe: int
    """Which of the batch's recipes, from 0."""

    @property
    def key(self) -> str:
        """Key of the reconstruction below the run."""
        return f"{self.batch_id}-{self.number}"

    @property
    def path(self) -> str:
        """Path of the reconstruction in Tiled."""
        return f"{names.PROCESSED}/{self.run_uid}/{self.key}"


@dataclass(frozen=True)
class BatchRecord:
    """A batch's node: its key, and its metadata."""

    batch_id: str
    """Key of the node."""
    metadata: BatchMetadata
    """What it says of itself."""

    @property
    def path(self) -> str:
        """Path of the node in Tiled."""
        return f"{names.BATCHES}/{self.batch_id}"

    @cached_property
    def items(self) -> tuple[BatchItem, ...]:
        """Its items by number."""
        recipes = len(self.metadata.recipes)
        return tuple(
            BatchItem(self.batch_id, index * recipes + recipe + 1, run, recipe)
            for index, run in enumerate(self.metadata.runs)
            for recipe in range(recipes)
        )

    @classmethod
    def from_node(cls, node: Any) -> BatchRecord:
        """Read the record of a Tiled client node, without asking the server again.

        Raises
        ------
        CatalogError
            The node is no batch.
        """
        key = str(node.path_parts[-1])
        return cls(key, checked_batch(plain(node.metadata), f"{names.BATCHES}/{key}"))


def checked_batch(content: Mapping[str, Any], where: str = "the batch") -> BatchMetadata:
    """Return what metadata say of a batch.

    Raises
    ------
    CatalogError
        They say something else; names the first field that is wrong, and why.
    """
    try:
        return BatchMetadata.model_validate(content)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise CatalogError(f"{where}: {field}: {reason}" if field else f"{where}: {reason}") from error


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """An item, and how it fares."""

    item: BatchItem
    state: State | None
    """State of the reconstruction; None before the service has made it."""
    message: str = ""
    """What a user should know of it."""
    seconds: float | None = None
    """How long it took, if it is done."""
    slices: int | None = None
    """Slices of its volume, if it is done."""
    started: float | None = None
    """When it was begun, in seconds since 1970, if it is done."""
    finished: float | None = None
    """When it was done, in seconds since 1970."""
    ended_by: str = ""
    """`batch` if it was cancelled or stopped with the batch, and not by itself."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is going to happen to it."""
        return self.state in FINAL_STATES


def item_status(item: BatchItem, metadata: Mapping[str, Any] | None, *, submitted: bool) -> ItemStatus:
    """Return how an item fares.

    Parameters
    ----------
    item : BatchItem
        The item.
    metadata : mapping or None
        What its node says, if there is one that says that it belongs to the batch.
    submitted : bool
        Whether the service has made all items that it is going to make.
    """
    if metadata is None:
        gone = (
            f"{item.path} was not made (the batch was ended, or the log of the service says why), has been "
            f"deleted, or is another reconstruction and not of this batch"
        )
        return ItemStatus(item, State.CANCELLED, gone) if submitted else ItemStatus(item, None)
    try:
        record = ReconstructionRecord.from_metadata(tuple(item.path.split("/")), metadata)
    except CatalogError as error:
        return ItemStatus(item, State.FAILED, str(error))
    said = record.metadata
    if record.state is not State.DONE:
        return ItemStatus(item, record.state, said.status.message, ended_by=said.status.ended_by)
    known = said.model_extra or {}
    started, finished = (_moment(known, key) for key in ("started", "finished"))
    took = None if started is None or finished is None else round(finished - started, 3)
    return ItemStatus(item, State.DONE, said.status.message, took, _slices(known), started, finished)


def _moment(known: Mapping[str, Any], key: str) -> float | None:
    try:
        return datetime.fromisoformat(known["provenance"][key]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _slices(known: Mapping[str, Any]) -> int | None:
    try:
        start, stop = known["geometry"]["detector_rows"]
        return int((stop - start) // known["geometry"]["binning"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """How a batch went, as far as it has."""

    items: int
    """How many there are."""
    counts: Mapping[str, int]
    """How many in each state; those that the service has still to make count as `waiting`."""
    seconds: float | None
    """From the beginning of the first item that is done to the end of the last one."""
    computing_s: float
    """What the items took that are done, together."""
    slices: int
    """Slices of all volumes that are done."""
    messages: Mapping[int, str]
    """Of items that failed or were cancelled: why."""

    @property
    def slices_per_s(self) -> float | None:
        """Slices for every second between the first beginning and the last end."""
        return self.slices / self.seconds if self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate, if one is computed after the other; None while none is done."""
        left = self.items - self.finished
        return round(self.computing_s / self.done * left, 1) if self.done else None

    @property
    def done(self) -> int:
        """How many are done."""
        return self.counts.get(State.DONE.value, 0)

    @property
    def failed(self) -> int:
        """How many have failed."""
        return self.counts.get(State.FAILED.value, 0)

    @property
    def cancelled(self) -> int:
        """How many were cancelled, or stopped and kept."""
        return self.counts.get(State.CANCELLED.value, 0)

    @property
    def finished(self) -> int:
        """How many are in a final state."""
        return self.done + self.failed + self.cancelled

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in self.counts.items()]
        text = f"{self.items} items: {', '.join(parts)}"
        if self.seconds:
            text += f"; {self.seconds:.0f} s, {self.slices_per_s:.1f} slices/s"
        return text


WAITING = "waiting"
"""What an item is that the service has still to make."""


ORDER = (
    *(State.DONE, State.FAILED, State.CANCELLED, State.RUNNING, State.PAUSED, State.QUEUED),
    WAITING,
)
"""In which states are counted."""


def _in_order(counted: Mapping[str, int]) -> dict[str, int]:
    return {str(key): counted[key] for key in ORDER if counted.get(key)}


def ordered_counts(items: int, found: Mapping[str, int], *, submitted: bool) -> dict[str, int]:
    """Return how many items of a batch are in each state, given those whose nodes are there.

    What is not there waits to be made; once the service has made everything, it has been deleted.
    """
    missing = State.CANCELLED.value if submitted else WAITING
    counted = Counter(found)
    counted[missing] += max(items - counted.total(), 0)
    return _in_order(counted)


def summary_of(items: Sequence[ItemStatus]) -> BatchSummary:
    """Return how a batch went, by its items."""
    counted = Counter(WAITING if item.state is None else item.state.value for item in items)
    started = [item.started for item in items if item.started is not None]
    finished = [item.finished for item in items if item.finished is not None]
    return BatchSummary(
        items=len(items),
        counts=_in_order(counted),
        seconds=round(max(finished) - min(started), 3) if started and finished else None,
        computing_s=round(sum(item.seconds or 0.0 for item in items), 3),
        slices=sum(item.slices or 0 for item in items),
        messages={
            item.item.number: item.message
            for item in items
            if item.state in (State.FAILED, State.CANCELLED) and item.message
        },
    )


def state_of(
    metadata: BatchMetadata, states: Iterable[State | None], *, is_paused: bool, is_ending: bool
) -> BatchState:
    """Return where a batch as a whole stands.

    Parameters
    ----------
    metadata : BatchMetadata
        What it says of itself.
    states : iterable of State or None
        States of its items; None of one that the service has still to make.
    is_paused, is_ending : bool
        Whether somebody wants it paused, or cancelled or stopped.
    """
    states = list(states)
    if metadata.message:
        return BatchState.REFUSED
    if all(state in FINAL_STATES for state in states):
        return BatchState.FINISHED
    if is_ending:
        return BatchState.ENDING
    if is_paused:
        return BatchState.PAUSED
    if not metadata.submitted:
        return BatchState.SUBMITTING
    begun = any(state not in (None, State.QUEUED) for state in states)
    return BatchState.RUNNING if begun else BatchState.QUEUED
