"""Ctrl-C and SIGTERM as a wish to stop that long work follows within a second."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tomoservice.errors import CancelledError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals(ending: threading.Event | None = None) -> Iterator[Callable[[], bool]]:
    """Turn the first signal into a wish that the yielded function tells of, and the second into an interrupt.

    An exception in the middle of a write would leave other threads writing on; a wish is followed between
    two writes.

    Parameters
    ----------
    ending
        Set by a signal that comes before those two, for work that can be ended in good order.

    Raises
    ------
    KeyboardInterrupt
        When the work has stopped because of the wish.
    """
    wished = threading.Event()

    def wish(_number: int, _frame: FrameType | None) -> None:
        if ending is not None and not ending.is_set():
            ending.set()
            return
        if wished.is_set():
            raise KeyboardInterrupt
        wished.set()

    before = {number: signal.signal(number, wish) for number in SIGNALS}
    try:
        yield wished.is_set
    except CancelledError as error:
        if wished.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
