"""Which reconstruction comes first."""

from __future__ import annotations

from enum import StrEnum


class JobPriority(StrEnum):
    """How urgent a reconstruction is; who looks at a slice comes before all of them."""

    LIVE = "live"
    """Reconstructed while its scan still runs. Reserved: nobody asks for it by hand."""
    NORMAL = "normal"
    """Somebody waits for it."""
    BACKGROUND = "background"
    """To be done when there is nothing better to do; gives way to all others."""

    @property
    def rank(self) -> int:
        """Number by which to sort, the most urgent first."""
        return list(JobPriority).index(self)

    def is_before(self, other: JobPriority) -> bool:
        """Tell whether this one is more urgent."""
        return self.rank < other.rank


ASKED_FOR = (JobPriority.NORMAL, JobPriority.BACKGROUND)
"""What people may ask for."""
