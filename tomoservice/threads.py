"""How many threads this process may keep busy, and how work is spread over them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def available_threads() -> int:
    """Return how many threads this process may keep busy: its CPU affinity, not the machine's cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(work: Callable[[T], object], items: Iterable[T], threads: int | None = None) -> None:
    """Call `work` with each item, on several threads, the caller's among them; return when all are done.

    For work that releases the interpreter's lock: FFTs, compiled kernels. What an item raises is raised here,
    when those that had begun are done; no other begins. Threads are made for the call and gone after it, so
    that nothing outlives a job.

    Parameters
    ----------
    work
        Called once for each item; the order is not fixed.
    items
        What to work on.
    threads
        Most threads to use; by default as many as the process may.
    """
    wanted = list(items)
    count = min(threads or available_threads(), len(wanted))
    if count <= 1:
        for item in wanted:
            work(item)
        return
    left = deque(wanted)

    def work_along() -> None:
        try:
            while True:
                try:
                    item = left.popleft()
                except IndexError:
                    return
                work(item)
        except BaseException:
            # Nobody begins another item.
            left.clear()
            raise

    with ThreadPoolExecutor(count - 1, "tomoservice") as pool:
        helpers = [pool.submit(work_along) for _ in range(count - 1)]
        # The caller is one of the threads: it need not be woken.
        work_along()
    for helper in helpers:
        helper.result()


def ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into at most `parts` neighbouring ranges of about equal length: (start, stop)."""
    edges = [count * part // max(parts, 1) for part in range(max(parts, 1) + 1)]
    return [(low, high) for low, high in pairwise(edges) if low < high]
