"""What a start document announces about a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomoservice.sources.layout import look_up

EXPECTED = ("tomo.num_projections", "num_projections", "plan_args.num_projections", "plan_args.num")
RANGE = (("tomo.start_deg", "tomo.stop_deg"), ("min_theta", "max_theta"))
"""Where plans say how many projections there will be, and over which angles."""


def expected_projections(start: Mapping[str, Any]) -> int | None:
    """Return how many projections a plan has announced."""
    for key in EXPECTED:
        value = look_up(start, key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def announced_range_deg(start: Mapping[str, Any]) -> float:
    """Return the angle that a plan has announced; 0 if it did not."""
    for first, last in RANGE:
        try:
            return abs(float(look_up(start, last)) - float(look_up(start, first)))
        except (TypeError, ValueError):
            continue
    return 0.0
