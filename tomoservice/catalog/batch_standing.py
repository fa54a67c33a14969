"""How batches fare: where each of their items stands, and the whole, as typed records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tomoservice.catalog.batch_records import BatchItem, BatchPart, BatchRecord
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.errors import CatalogError


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


def item_status(item: BatchItem, metadata: Mapping[str, Any] | None, part: BatchPart) -> ItemStatus:
    """Return how an item fares.

    Parameters
    ----------
    item : BatchItem
        The item.
    metadata : mapping or None
        What its node says, if there is one that says that it belongs to the batch.
    part : BatchPart
        What it was asked for with.
    """
    if metadata is None:
        gone = part.message or (
            f"{item.path} was not made (the batch was ended, or the log of the service says why), has been "
            f"deleted, or is another reconstruction and not of this batch"
        )
        return ItemStatus(item, State.CANCELLED, gone) if part.submitted else ItemStatus(item, None)
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
    """From the beginning of the first item that is done to the end of the last one.

    What was added when everything else was done counts from its own beginning: nobody computed before."""
    computing_s: float
    """What the items took that are done, together."""
    slices: int
    """Slices of all volumes that are done."""
    messages: Mapping[int, str]
    """Of items that failed or were cancelled: why."""

    @property
    def slices_per_s(self) -> float | None:
        """Slices for every one of these seconds."""
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
    return BatchSummary(
        items=len(items),
        counts=_in_order(counted),
        seconds=_seconds_of(items),
        computing_s=round(sum(item.seconds or 0.0 for item in items), 3),
        slices=sum(item.slices or 0 for item in items),
        messages={
            item.item.number: item.message
            for item in items
            if item.state in (State.FAILED, State.CANCELLED) and item.message
        },
    )


def _seconds_of(items: Iterable[ItemStatus]) -> float | None:
    """Return how long the parts of a batch took together, overlaps once; None if nothing is done."""
    spans: dict[int, tuple[float, float]] = {}
    for item in items:
        if item.started is None or item.finished is None:
            continue
        start, stop = spans.get(item.item.part, (item.started, item.finished))
        spans[item.item.part] = (min(start, item.started), max(stop, item.finished))
    total, reached = 0.0, float("-inf")
    for start, stop in sorted(spans.values()):
        total += max(stop - max(start, reached), 0.0)
        reached = max(reached, stop)
    return round(total, 3) if spans else None


def state_of(
    record: BatchRecord, states: Iterable[State | None], *, is_paused: bool, is_ending: bool
) -> BatchState:
    """Return where a batch as a whole stands.

    Parameters
    ----------
    record : BatchRecord
        What was asked for.
    states : iterable of State or None
        States of its items; None of one that the service has still to make.
    is_paused, is_ending : bool
        Whether somebody wants it paused, or cancelled or stopped.
    """
    states = list(states)
    if record.metadata.message:
        return BatchState.REFUSED
    if all(state in FINAL_STATES for state in states):
        return BatchState.FINISHED
    if is_ending:
        return BatchState.ENDING
    if is_paused:
        return BatchState.PAUSED
    if not record.submitted:
        return BatchState.SUBMITTING
    begun = any(state not in (None, State.QUEUED) for state in states)
    return BatchState.RUNNING if begun else BatchState.QUEUED
