"""Dask's spans, which a scheduler that runs for months must do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed.spans import SpansSchedulerExtension


class NoSpans(SpansSchedulerExtension):
    """Keeps nothing: Dask's own keeps a span of every request for ever, for a dashboard that there is not.

    It cannot be left out, since the workers' heartbeats look for it by its name.
    """

    def observe_tasks(self, tss: Any, code: Any, span_metadata: Any) -> dict[Any, dict[str, Any]]:
        """Put no task into a span."""
        del tss, code, span_metadata
        return {}

    def heartbeat(self, ws: Any, data: Mapping[Any, float]) -> None:
        """Count nothing of what a worker did."""
        del ws, data
