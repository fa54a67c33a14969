"""Measurements as a table, on a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row."""

    work: str
    """What was measured."""
    measured: str
    """How long it took, in words."""
    value: float | None = None
    """What is compared with the target."""
    target: float | None = None
    """The most that `value` may be, or None if nothing is promised."""
    unit: str = ""
    most: float | None = None
    """What `value` may be as well, where it is not known better."""

    @property
    def verdict(self) -> str:
        """Whether the target is reached, as far as that can be told."""
        if self.value is None or self.target is None:
            return ""
        if self.value > self.target:
            return "NOT REACHED"
        return "undecided" if self.most is not None and self.most > self.target else "reached"

    @property
    def wanted(self) -> str:
        """The target in words."""
        return "" if self.target is None else f"<= {self.target:g}{self.unit}"


HEADER = ("work", "target", "measured", "verdict")


def as_markdown(rows: Sequence[Measurement]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---|---|"]
    lines += [f"| {row.work} | {row.wanted} | {row.measured} | {row.verdict} |" for row in rows]
    return "\n".join(lines)
