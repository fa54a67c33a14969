"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """It works, but not as well as it could, or not for everybody."""
    WRONG = "wrong"
    """Reconstructions fail, or the service does not start."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at."""
    verdict: Verdict
    """How it is."""
    said: str
    """What was found, with numbers."""
    advice: str = ""
    """What to do about it; empty if nothing is to be done."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return asdict(self)


def ok(subject: str, said: str) -> Finding:
    """Return a finding about something that is as it should be."""
    return Finding(subject, Verdict.OK, said)


def warning(subject: str, said: str, advice: str) -> Finding:
    """Return a finding about something that works, but not well."""
    return Finding(subject, Verdict.WARNING, said, advice)


def wrong(subject: str, said: str, advice: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(subject, Verdict.WRONG, said, advice)
