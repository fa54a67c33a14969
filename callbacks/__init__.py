"""Bluesky document callbacks: the only code of this project that runs beside the RunEngine."""

from __future__ import annotations

from callbacks.publisher import RunPublisher
from callbacks.rules import Rule, Rules
from callbacks.trigger import ReconstructionTrigger

__all__ = ["ReconstructionTrigger", "Rule", "Rules", "RunPublisher"]
