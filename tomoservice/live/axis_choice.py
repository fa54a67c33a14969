"""Which of several rotation axes a live reconstruction uses."""

from __future__ import annotations

from dataclasses import dataclass

from tomoservice.axis import AxisResult
from tomoservice.catalog.live_records import LiveAxis
from tomoservice.live.seeking import SURE


@dataclass
class AxisChoice:
    """Which axis is used, and why.

    Parameters
    ----------
    given
        What is known before anything has been searched.
    source
        Where that is from, in words.
    wished
        What somebody wants instead of all else.
    found
        What the scan itself has shown.
    """

    given: float | None = None
    source: str = ""
    wished: float | None = None
    found: AxisResult | None = None

    def chosen(self, columns: int) -> LiveAxis:
        """Return the axis to be used on a detector of so many columns."""
        if self.wished is not None:
            return LiveAxis(value=self.wished, provisional=False, source="wished for")
        if self.found is not None:
            confidence = round(float(self.found.confidence), 3)
            sure = self.found.confidence >= SURE
            if sure or self.given is None:
                source = f"found in the scan ({self.found.method})"
                value = round(float(self.found.rotation_axis), 3)
                return LiveAxis(value=value, confidence=confidence, provisional=not sure, source=source)
        if self.given is not None:
            return LiveAxis(value=self.given, source=self.source)
        return LiveAxis(value=(columns - 1) / 2, source="the detector's middle")
