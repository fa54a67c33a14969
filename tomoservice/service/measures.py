"""Numbers about the service for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tomoservice.catalog.states import State

QUICK_S = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Bounds of the classes of seconds that people wait for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at the moment of a look."""

    reconstructions: Mapping[str, int]
    """Reconstructions by state."""
    slabs_done: int
    """Slabs that are stored of those that are running."""
    slabs_total: int
    """Slabs that they have."""
    slots: int
    """Tasks that workers do at once; 0 if nobody computes."""
    free_bytes: int
    """Room on the disk of the volumes."""
    listeners: int
    """Connections that hear of events."""


class Measures:
    """Counts what one server process does; what the catalogue knows is asked for at every look."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._interactive = Histogram(
            "tomoservice_interactive_seconds",
            "Seconds from a request for a preview or an axis to its answer, by what was asked for",
            ["task"],
            registry=self._registry,
            buckets=QUICK_S,
        )
        self._slabs = Counter(
            "tomoservice_reader_slabs",
            "Slabs computed because somebody read them; those of jobs are in tomoservice_running_slabs",
            registry=self._registry,
        )
        self._reconstructions = self._gauge("reconstructions", "Reconstructions in a state", ["state"])
        self._running = self._gauge("running_slabs", "Slabs of reconstructions that are running", ["which"])
        self._slots = self._gauge("worker_slots", "Tasks that workers do at once; 0 if nobody computes")
        self._free = self._gauge("free_bytes", "Room on the disk of the volumes")
        self._listeners = self._gauge("event_listeners", "Connections that hear of events")

    def _gauge(self, name: str, about: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"tomoservice_{name}", about, labels or [], registry=self._registry)

    def answered(self, task: str, seconds: float) -> None:
        """Count a request that workers have answered."""
        self._interactive.labels(task=task).observe(seconds)

    def filled(self) -> None:
        """Count a slab that was computed for a reader."""
        self._slabs.inc()

    def text(self, standing: Standing) -> bytes:
        """Return all numbers as Prometheus reads them."""
        for state in State:
            self._reconstructions.labels(state=state.value).set(standing.reconstructions.get(state, 0))
        self._running.labels(which="done").set(standing.slabs_done)
        self._running.labels(which="all").set(standing.slabs_total)
        self._slots.set(standing.slots)
        self._free.set(standing.free_bytes)
        self._listeners.set(standing.listeners)
        return bytes(generate_latest(self._registry))
