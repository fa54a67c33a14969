"""Work that is cut into pieces of less than a second, so that a wish to stop is soon heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tomoservice.errors import CancelledError

Check = Callable[[], None]
"""Raises `CancelledError` if the work is no longer wanted."""
PIECE_S = 0.4
"""Seconds that a piece is to take."""


def checking(cancelled: Callable[[], bool] | None, during: str) -> Check:
    """Return what raises `CancelledError` once `cancelled` says so."""

    def check() -> None:
        if cancelled is not None and cancelled():
            raise CancelledError(f"stopped {during}")

    return check


def in_pieces(count: int, least: int, check: Check) -> Iterator[tuple[int, int]]:
    """Cut `range(count)` into neighbouring ranges, and look before each whether the work is still wanted.

    Parameters
    ----------
    count
        Items of work.
    least
        Items that are worked on at once anyway: the first piece, and the smallest.
    check
        Called before each piece.

    Yields
    ------
    (start, stop)
        As large as `PIECE_S` allows, by the time that the piece before took until the next was asked for.
    """
    start, size = 0, least
    while start < count:
        check()
        stop = min(start + size, count)
        began = time.perf_counter()
        yield start, stop
        per_item = (time.perf_counter() - began) / (stop - start)
        size = max(least, min(int(PIECE_S / max(per_item, 1e-9)), 4 * size))
        start = stop
