"""How many threads this process may keep busy."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Return how many threads this process may keep busy: its CPU affinity, not the machine's cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
