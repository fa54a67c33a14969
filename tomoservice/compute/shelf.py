"""Things that are costly to make, kept ready for several threads and closed when nobody needs them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What a shelf keeps."""

    def is_fresh(self) -> bool:
        """Tell whether it may still be used."""

    def close(self) -> None:
        """Give back what it holds."""


Thing = TypeVar("Thing", bound=Closable)


@dataclass(eq=False)
class _Lent(Generic[Thing]):
    thing: Thing
    users: int = 1
    retired: bool = False


@dataclass(eq=False)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Shelf(Generic[Thing]):
    """Keeps the things that were used last; each is made by one thread, and closed once nobody uses it.

    Parameters
    ----------
    most
        Things that are kept, at most; while they are in use there may be more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}
        self._kept: OrderedDict[str, _Lent[Thing]] = OrderedDict()

    @contextmanager
    def lend(self, key: str, make: Callable[[], Thing]) -> Iterator[Thing]:
        """Lend what is kept under a key, made now if it is not there or not fresh."""
        with self._turn(key):
            lent = self._take(key)
            if lent is None:
                lent = _Lent(make())
                self._keep(key, lent)
        try:
            yield lent.thing
        finally:
            self._give_back(lent)

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Let one thread after the other look for what is kept under a key; forgotten after the last."""
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.users += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[key]

    def close(self) -> None:
        """Close everything that nobody uses, and the rest when it is given back."""
        for key in list(self._kept):
            self._retire(key)

    def _take(self, key: str) -> _Lent[Thing] | None:
        with self._lock:
            lent = self._kept.get(key)
            if lent is None:
                return None
            lent.users += 1
            self._kept.move_to_end(key)
        if lent.thing.is_fresh():
            return lent
        self._retire(key)
        self._give_back(lent)
        return None

    def _keep(self, key: str, lent: _Lent[Thing]) -> None:
        with self._lock:
            self._kept[key] = lent
            oldest = next(iter(self._kept)) if len(self._kept) > self._most else None
        if oldest is not None:
            self._retire(oldest)

    def _retire(self, key: str) -> None:
        with self._lock:
            lent = self._kept.pop(key, None)
            if lent is None:
                return
            lent.retired = True
            close = lent.users == 0
        if close:
            lent.thing.close()

    def _give_back(self, lent: _Lent[Thing]) -> None:
        with self._lock:
            lent.users -= 1
            close = lent.retired and lent.users == 0
        if close:
            lent.thing.close()
