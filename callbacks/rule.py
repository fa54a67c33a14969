"""Which runs are reconstructed without being asked."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict


class TriggerRule(BaseModel):
    """Decides from a run's start and stop documents whether it is reconstructed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plans: tuple[str, ...] = ()
    """Names of plans, with wildcards (``tomo_*``). Empty: every run whose start document has a `tomo`
    or a `scan_layout` entry, whatever its plan is called."""
    include_aborted: bool = False
    """Whether runs that were aborted or failed are reconstructed from what they have."""

    def wants(self, start: Mapping[str, Any], stop: Mapping[str, Any]) -> bool:
        """Tell whether the run with these documents is to be reconstructed.

        Parameters
        ----------
        start : mapping
            Start document; empty if it was not seen.
        stop : mapping
            Stop document.
        """
        if stop.get("exit_status") != "success" and not self.include_aborted:
            return False
        if not self.plans:
            return "tomo" in start or "scan_layout" in start
        name = str(start.get("plan_name", ""))
        return any(fnmatchcase(name, pattern) for pattern in self.plans)
