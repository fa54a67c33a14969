"""What callbacks have in common that keep what they are given on disk and deliver it from there."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

LOOK_S = 0.05


class SpoolingCallback(ABC):
    """A document callback with a thread that delivers; to be closed, or used in a `with` statement."""

    @abstractmethod
    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep a document, without raising anything or changing it."""

    @abstractmethod
    def is_settled(self) -> bool:
        """Tell whether nothing is left that could be delivered."""

    @abstractmethod
    def close(self, timeout_s: float = 60.0) -> None:
        """Deliver what can be delivered now, and end the thread. The rest stays on disk."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is left to deliver; tell whether that is so."""
        deadline = time.monotonic() + timeout_s
        while not self.is_settled():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
