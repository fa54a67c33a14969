"""Looking at an installation: what works, what does not, and what to do about it."""

from __future__ import annotations

from tomoservice.doctor.examination import Place, examine
from tomoservice.doctor.finding import Finding, Verdict

__all__ = ["Finding", "Place", "Verdict", "examine"]
