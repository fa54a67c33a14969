"""Lines between those who compute and those who wait."""

from __future__ import annotations

from tomoservice.pipeline import Outline


class Idle:
    """A line to nobody."""

    def should_stop(self) -> bool:
        return False

    def tell(self, stage: str) -> None:
        del stage

    def show(self, outline: Outline) -> None:
        del outline
